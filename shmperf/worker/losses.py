"""
Calls that get no record: counted, and told once by cause, with what to do.

Whoever counts a loss may hold a lock, or stand in a signal handler that interrupted who holds it,
and a logger is foreign code: it may wait for others, or call a tool itself. So a loss is noted
where it is counted, which costs a look at a set, and told where nothing of ours is held.
"""

from __future__ import annotations

from collections.abc import Callable

from shmperf.errors import Once, tell
from shmperf.session.session import Session
from shmperf.shm.causes import LOSSES, Loss
from shmperf.shm.inflight import mark_loss
from shmperf.shm.memory import SHARED_MEMORY
from shmperf.shm.segment import Segment
from shmperf.stdlib import os

from .failures import is_programs
from .gcwatch import is_collecting
from .guard import Guard

__all__ = ["Losses"]

# Beside a cause, in one number, as nothing is to be allocated where memory or frames run out: the
# call was refused before it could begin, in the middle of something else.
_REFUSED = 1 << 8

_MIB = 1 << 20
# Less is no room for a ring that is worth its name.
_FULL_BYTES = _MIB
# What telling takes, with handlers and formatters of the usual kinds.
_FRAMES = 64
_told = Once()


class Losses:
    """The lost calls of one process in one session; any thread."""

    def __init__(
        self,
        guard: Guard,
        told: Once | None = None,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        """*told* is what the program has been told already; both are the process's own if None."""
        self._guard = guard
        self._told = _told if told is None else told
        self._free_bytes = free_bytes or _free_bytes
        self._untold: set[int] = set()
        self._session: Session | None = None
        self._segment: Segment | None = None

    def open(self, session: Session, segment: Segment) -> None:
        """There is a *segment* to count in."""
        self._session, self._segment = session, segment

    def count(self, cause: int, *, is_refused: bool = False) -> None:
        """Count a call that occupies no row; *is_refused* when that is not for want of memory."""
        if self._segment is not None:
            self._segment.count_loss(cause)
            kind = cause | _REFUSED if is_refused else cause
            if kind not in self._told:
                self._untold.add(kind)

    def count_row(self, cause: int, row: int, call_id: int) -> None:
        """Count a call that gets no record: in its row, which the books trust, and by cause."""
        # point below: count-loss
        if self._segment is not None and mark_loss(self._segment.words, row, call_id):
            self._segment.count_loss(cause)
            if cause not in self._told:
                self._untold.add(cause)

    def tell(self) -> None:
        """
        Tell what has been noted, unless something of ours is held now; never raises.

        Whoever comes by calls it, where calls may have been lost: what can't be told now is later.
        """
        while self._untold and not self._guard.is_busy and not is_collecting():
            try:
                _reach(_FRAMES)
            except RecursionError:
                return  # where a tool calls itself too deeply a logger fails, and says so
            try:
                kind = self._untold.pop()
                if self._session is not None and self._told.claim(kind):
                    tell(_text_of(kind, self._session, self._free_bytes()))
            except Exception as error:
                # Ours, or no memory for it: the counters say it all the same.
                if is_programs(error):
                    raise


def _reach(frames: int) -> None:
    """RecursionError unless there is room for so many *frames*."""
    if frames:
        _reach(frames - 1)


def _free_bytes() -> int:
    """What is left of shared memory; enough where nobody can tell."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except OSError:
        return _FULL_BYTES
    return found.f_bavail * found.f_frsize


def _text_of(kind: int, session: Session, free_bytes: int) -> str:
    is_refused, cause = bool(kind & _REFUSED), kind & _REFUSED - 1
    budget_mib = session.options.ring.budget_bytes / _MIB
    no_room = (
        f"{SHARED_MEMORY} is full; give it more room (containers: --shm-size)"
        if free_bytes < _FULL_BYTES
        else "this process's budget of memory is used; "
        f"raise ring.budget_bytes (now {budget_mib:g} MiB)"
    )
    why = _WHY[Loss.RE_ENTERED if is_refused else cause]
    if cause == Loss.RING_FULL and not session.has_collector():
        start = "one is being started" if session.name is None else _START.format(session.name)
        why = f"no collector drains them; {session.restarts.failure or start}"
    text = why.format(no_room=no_room)
    return f"calls are lost ({LOSSES[cause]}): {text}; get_perf_stats()['lost'] counts them"


_START = "start one: shmperf collect --session {}"
_WHY = {
    Loss.RING_FULL: "they come faster than they are drained, and {no_room}",
    Loss.NO_MEMORY: "there is no ring for their tool: {no_room}",
    Loss.NO_ROW: "too many are open at once: {no_room}",
    Loss.RE_ENTERED: "a signal handler or finaliser called them in the middle of recording; "
    "a few are normal",
    Loss.TOO_LARGE: "their parameters found no room; record fewer (params=…), or {no_room}",
    Loss.INTERNAL: "tracking them has failed; the reason is told apart",
}
