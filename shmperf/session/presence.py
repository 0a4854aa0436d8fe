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

import msgspec

from shmperf.stdlib import Path, os, time

from .files import is_locked, read_bounded, try_flock

__all__ = ["Identity", "Presence"]

COMING, HERE = ".new-", "w-"
_PREFIX = "shmperf-"
_DIGITS = 12
_COMING_S = 60.0


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


# Made here: what msgspec finds out about a struct must not be half there in the child of a fork.
_decode = msgspec.msgpack.Decoder(Identity).decode


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
        segment = _segment_in(path.name)
        if not segment:
            return None
        try:
            content = read_bounded(path)
        except FileNotFoundError:
            return None
        try:
            identity = _decode(content)
        except (msgspec.MsgspecError, ValueError):
            identity = None
        return cls(path, segment, identity)

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
        if try_flock(self._path) is not True:
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


def _segment_in(name: str) -> str:
    """The segment that a file of that name is of; nothing of any other file."""
    segment = name.removeprefix(COMING if name.startswith(COMING) else HERE)
    digits = segment.removeprefix(_PREFIX)
    is_ours = segment not in (name, digits) and len(digits) == _DIGITS
    return segment if is_ours and set(digits) <= set("0123456789abcdef") else ""


def _start_ticks(pid: int) -> int:
    """When *pid* started, in clock ticks since boot; 0 when there is none, -1 for a zombie."""
    try:
        # Half the time of a Path.
        with os.fdopen(os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            fields = file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return 0
    return -1 if fields[0] in (b"Z", b"X") else int(fields[19])


def _pid_namespace() -> int:
    """The caller's; 0 where ``/proc`` is mounted for another one, and its pids are not ours."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return 0
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
