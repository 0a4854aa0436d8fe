"""
Who is alive: a file per worker, named after its segment and locked for the worker's life.

    .new-<segment>   the worker is coming: locked, its segment not complete yet
    w-<segment>      the worker is here

The kernel drops a ``flock`` at any death, also across pid namespaces. Not ``lockf``: closing any
other descriptor of the file would drop that. Dead means that the lock is free and, in the same pid
namespace, that no process with that pid and start time is left: a program may close all of its
descriptors and live on.

The order is: temporary name, lock, segment, final name. Killed anywhere between, what is there can
be found by these names and removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from pathlib import Path

import msgspec

from .errors import SessionError

__all__ = ["Identity", "Presence", "create_locked", "is_locked", "let_go", "read_bounded"]

COMING, HERE = ".new-", "w-"
_NAME = re.compile(r"(?:\.new-|w-)(shmperf-[0-9a-f]{12})\Z")
_MOST_BYTES = 1 << 20
_COMING_S = 60.0
_LOCK_DEADLINE_S = 1.0


class Identity(msgspec.Struct, array_like=True, frozen=True):
    """Who a process is, beyond a pid that others may get later."""

    pid: int
    start_ticks: int
    namespace: int

    @classmethod
    def of_this_process(cls) -> Identity:
        """The caller."""
        pid = os.getpid()
        return cls(pid, _start_ticks(pid), _pid_namespace())

    def is_running(self) -> bool:
        """True when that very process is seen; False also where it can't be seen from here."""
        ours = _pid_namespace()
        return bool(ours) and self.namespace == ours and _start_ticks(self.pid) == self.start_ticks


class Presence:
    """A worker's file in a session directory."""

    __slots__ = ("_path", "identity", "segment")

    def __init__(self, path: Path, segment: str, identity: Identity | None) -> None:
        self._path = path
        self.segment = segment
        self.identity = identity

    @classmethod
    def read(cls, path: Path) -> Presence | None:
        """The presence in *path*; None when its name is none of ours or it is not our file."""
        match = _NAME.match(path.name)
        if match is None:
            return None
        try:
            content = read_bounded(path)
        except FileNotFoundError:
            return None
        try:
            identity = msgspec.msgpack.decode(content, type=Identity)
        except (msgspec.MsgspecError, ValueError):
            identity = None
        return cls(path, match[1], identity)

    @property
    def is_coming(self) -> bool:
        """True before the worker's segment was complete."""
        return self._path.name.startswith(COMING)

    def is_alive(self) -> bool:
        """True while the worker holds its lock or, seen from here, still runs."""
        if is_locked(self._path):
            return True
        return self.identity is not None and self.identity.is_running()

    def died_coming(self) -> bool:
        """
        True for a worker that was killed before its segment was complete.

        Only a lock that was really taken says so: a file that is not there any more has got its
        final name meanwhile. One without an identity may be about to be locked, unless it is old.
        """
        if _try_flock(self._path) is not True:
            return False
        if self.identity is not None:
            return not self.identity.is_running()
        try:
            return time.time() - self._path.stat().st_mtime > _COMING_S
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)  # point: presence-remove


def create_locked(path: Path, content: bytes) -> int:
    """A new private file with *content*, locked; the descriptor that holds the lock."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _lock_soon(fd)  # point: presence-created
        os.write(fd, content)  # point: presence-locked
    except OSError:
        path.unlink(missing_ok=True)
        let_go(fd)
        raise
    return fd  # point: presence-written


def let_go(fd: int) -> None:
    """
    Drop the lock that *fd* holds, and close it.

    A fork in another thread may have copied the descriptor, and as long as a copy is open, closing
    ours leaves the lock held; unlocking drops it for all of them.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _lock_soon(fd: int) -> None:
    """Lock a file that nobody else wants, but that somebody may be trying the lock of just now."""
    deadline = time.monotonic() + _LOCK_DEADLINE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise


def is_locked(path: Path) -> bool:
    """True when somebody holds the lock of *path*; False when there is no such file."""
    return _try_flock(path) is False


def _try_flock(path: Path) -> bool | None:
    """Whether the lock could be taken, and was dropped again; None without a file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared: two who only ask must not take each other for the holder.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    finally:
        let_go(fd)
    return True


def read_bounded(path: Path) -> bytes:
    """A small private file of ours; FileNotFoundError, or SessionError when it is not that."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise SessionError(f"{path}: {error}") from None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise SessionError(f"{path}: found a file of somebody else's, expected ours")
        return file.read(_MOST_BYTES)


def _start_ticks(pid: int) -> int:
    """When *pid* started, in clock ticks since boot; 0 when there is none, -1 for a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  half the time of a Path
            fields = file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return 0
    return -1 if fields[0] in (b"Z", b"X") else int(fields[19])


def _pid_namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
