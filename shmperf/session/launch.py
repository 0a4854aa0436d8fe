"""
Processes of our own: a collector that outlives its parent, and children that end with theirs.

Started by exec, never forked, so that they inherit neither locks nor memory.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping

from shmperf.files import open_private
from shmperf.stdlib import Path, fcntl, os

from .interpreter import python_command
from .restarts import LOG

__all__ = ["Child", "start_detached_collector"]

# Not by way of the command, whose tables would delay the first drain. Nothing that is imported is
# garbage: looking for some would delay it, too, by a twentieth.
_RUN = (
    "import gc; gc.disable(); "
    "from shmperf.collector.service import serve_embedded; serve_embedded(sys.argv[1], 3)"
)


_SETSIDS = ("/usr/bin/setsid", "/bin/setsid")
_FIRST_FREE_FD = 4
Action = tuple[int, int] | tuple[int, int, int]


def start_detached_collector(directory: Path, lock_fd: int) -> None:
    """Start a detached collector that holds *lock_fd* as its descriptor 3."""
    command = python_command(_RUN, str(directory))
    opened: list[int] = []
    try:
        log = _open_high(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, opened)
        null = _open_high(Path(os.devnull), os.O_RDWR, opened)
        lock = fcntl.fcntl(lock_fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD)
        opened.append(lock)
        actions: list[Action] = []
        actions += [(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate((null, null, log, lock))]
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()]
        _detach(command, actions)
    finally:
        for fd in opened:
            os.close(fd)


def _open_high(path: Path, flags: int, opened: list[int]) -> int:
    """
    Open a file on a descriptor that the child's first four don't overwrite.

    A program whose standard input is closed gets 0 for whatever it opens next.
    """
    fd = open_private(path, flags)
    try:
        opened.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD))
    finally:
        os.close(fd)
    return opened[-1]


def _inherited() -> list[int]:
    """
    What a child would find open beside its first four: descriptors that no Python made.

    A server in C hands its connections on to whatever is executed. One that a collector held open
    would never end for the client, and a port that it listens on would stay taken.
    """
    try:
        opened = [int(name) for name in os.listdir("/proc/self/fd")]
    except (OSError, ValueError):
        return []
    return [fd for fd in opened if fd >= _FIRST_FREE_FD and _is_inherited(fd)]


def _is_inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        # Closed meanwhile; among others it was the listing's own.
        return False


def _detach(command: list[str], actions: list[Action]) -> None:
    """
    Run *command* in a session of its own, as nobody's child to wait for.

    ``setsid --fork`` is through in a millisecond. Where there is none, or one without that option
    (busybox), *command* is the program's own child, and waits for it at the end as a zombie.
    """
    setsid = next((path for path in _SETSIDS if os.access(path, os.X_OK)), None)
    if setsid is not None:
        pid = os.posix_spawn(setsid, [setsid, "--fork", *command], os.environ, file_actions=actions)
        try:
            if os.waitpid(pid, 0)[1] == 0:
                return
        except ChildProcessError:
            return  # the program waits for all of its children itself
    os.posix_spawn(command[0], command, os.environ, file_actions=actions, setsid=True)


class Child:
    """A child that ends when its standard input does, which only this process holds open."""

    def __init__(self, command: list[str], log: Path, handed: Mapping[int, Path]) -> None:
        """*handed* are files that it finds open for reading; OSError when it can't be started."""
        self.code: int | None = None
        self._lock = threading.Lock()
        opened = list(os.pipe())
        try:
            # The child's first three would be overwritten where this process has closed its own.
            opened += [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in opened]
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
                (os.POSIX_SPAWN_DUP2, opened[2], 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ]
            for fd, path in handed.items():
                actions.append((os.POSIX_SPAWN_OPEN, fd, str(path), os.O_RDONLY, 0))
            self.pid = os.posix_spawn(
                command[0], command, os.environ, file_actions=actions, setsid=True
            )
            self._pipe_fd = opened.pop()
        finally:
            for fd in opened:
                os.close(fd)

    def has_ended(self) -> bool:
        """True once it is gone; its exit code, or the signal as a negative one, in ``code``."""
        if self.code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, 0
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def hang_up(self) -> None:
        """End its standard input."""
        # Two threads may do so at once, and a number may be another file's by the second time.
        with self._lock:
            fd, self._pipe_fd = self._pipe_fd, -1
            if fd >= 0:
                os.close(fd)

    def kill(self) -> None:
        """For one that does not go."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
