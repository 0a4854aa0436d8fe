"""
How a process becomes a worker of a session, and stays one.

Coming in, it holds the lock on the session's directory shared, together with others: nobody can
end the session meanwhile. Its own lock, on the file that says that it is here, is for its life.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from shmperf.errors import SessionGone
from shmperf.files import KeptFile
from shmperf.shm.memory import remove_memory
from shmperf.stdlib import Path, fcntl, os, secrets, time

from .files import create_locked, let_go
from .presence import COMING, HERE, Identity

__all__ = ["Membership", "is_still"]

T = TypeVar("T")

_JOIN_DEADLINE_S = 0.005


class Membership:
    """
    This process's part in the session of one directory.

    ``presence`` is its file there, held open: None until it is announced, and in a fork.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.presence: KeptFile | None = None

    def announce(self, make_segment: Callable[[str], T]) -> T:
        """What *make_segment* makes of a name, announced; errors as of `Session.announce`."""
        directory = self._enter_lock()
        try:
            return self._announce(make_segment)
        except OSError:
            if is_still(self._directory, directory):
                raise
            # Somebody has removed the directory by hand.
            raise SessionGone from None
        finally:
            let_go(directory)

    def _announce(self, make_segment: Callable[[str], T]) -> T:
        segment = f"shmperf-{secrets.token_hex(6)}"
        coming = self._directory / f"{COMING}{segment}"
        fd = create_locked(coming, msgspec.msgpack.encode(Identity.of_this_process()))
        # At once: a tool may fork while the segment is made.
        self.presence = presence = KeptFile(coming, fd)  # point: announce-present
        try:
            made = make_segment(segment)  # point: announce-make
            presence.path = self._directory / f"{HERE}{segment}"
            coming.rename(presence.path)  # point: announce-rename
        except BaseException:
            self.presence = None
            remove_memory(segment, self._directory)
            coming.unlink(missing_ok=True)
            let_go(fd)
            raise
        return made  # point: announce-here

    def _enter_lock(self) -> int:
        deadline = time.monotonic() + _JOIN_DEADLINE_S
        try:
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise SessionGone from None
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # point: enter-lock
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(fd)
                    raise SessionGone from None
        if not is_still(self._directory, fd):
            os.close(fd)
            raise SessionGone
        return fd  # point: enter-locked

    def after_fork(self) -> None:
        """In a child: close the parent's presence, if the descriptor is still that file's."""
        presence, self.presence = self.presence, None
        try:
            if presence is not None:
                presence.close()
        except OSError:
            return

    def stay_present(self) -> None:
        """Lock the presence again when the program has closed it."""
        presence = self.presence
        if presence is None or presence.is_open:
            return
        try:
            fcntl.flock(presence.descriptor(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # somebody tries it just now: the next time


def is_still(directory: Path, fd: int) -> bool:
    """True while the path leads to the directory that is open as *fd*."""
    try:
        return os.fstat(fd).st_ino == directory.stat().st_ino
    except FileNotFoundError:
        return False
