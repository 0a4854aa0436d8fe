"""
Processes of our own beside the program: a collector that outlives its parent.

Started by exec, never forked, so that they inherit neither locks nor memory.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import shmperf
from shmperf.files import open_private

__all__ = ["PACKAGE_PARENT", "start_detached_collector"]

# What a child of ours needs on its path, wherever the program found this package.
PACKAGE_PARENT = str(Path(shmperf.__file__).resolve().parent.parent)

# Not by way of the command, whose tables would delay the first drain.
_RUN = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from shmperf.collector.service import serve_embedded; serve_embedded(sys.argv[2], 3)"
)


_SETSIDS = ("/usr/bin/setsid", "/bin/setsid")
_FIRST_FREE_FD = 4


def start_detached_collector(directory: Path, lock_fd: int) -> None:
    """Start a detached collector that holds *lock_fd* as its descriptor 3."""
    python = sys.executable
    if not python:
        raise OSError("this interpreter does not know its own executable")
    command = [python, "-P", "-c", _RUN, PACKAGE_PARENT, str(directory)]
    opened: list[int] = []
    try:
        log = _open_high(directory / "collector.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, opened)
        null = _open_high(Path(os.devnull), os.O_RDWR, opened)
        lock = fcntl.fcntl(lock_fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD)
        opened.append(lock)
        places = enumerate((null, null, log, lock))
        _detach(command, [(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in places])
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


def _detach(command: list[str], actions: list[tuple[int, int, int]]) -> None:
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
