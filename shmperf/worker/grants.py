"""
Slots that a tool may write without looking: handed to it, and handed again when they are used up.

What is rare happens at a refill, which every so many calls needs: a look at the collector and at
rows that run out, a larger ring, a signal that one fills up.
"""

from __future__ import annotations

from collections.abc import Iterator

from shmperf.session.client import wake
from shmperf.session.session import Session
from shmperf.shm.segment import SHARED, Segment
from shmperf.stdlib import time

from .gcwatch import watch_collections
from .lanes import Lane, Lanes
from .rows import Rows
from .tool import Bound, Tool, bound_of

__all__ = ["Grants"]

_LOOK_AT_ROWS_EVERY = 256
_COLLECTOR_CHECK_S = 1.0
_WAKE_PAUSE_S = 0.003


class Grants:
    """The grants of one process in one session; whoever calls holds the process's guard."""

    def __init__(self, session: Session, segment: Segment, rows: Rows, lanes: Lanes) -> None:
        self._session, self._segment, self._rows, self._lanes = session, segment, rows, lanes
        self.ring = session.options.ring
        self._refills = 0
        self._checked_at_s = self._woken_at_s = 0.0

    def bind(self, tool: Tool) -> None:
        """
        Hand the lane's grant to *tool*.

        Outside normal mode, and where a segment is sealed, the word never matches: the wrapper
        then goes another way. Of a sampled tool only who records chosen calls gets it.
        """
        lane = tool.lane
        if lane is None:
            return
        watch_collections()
        in_detail, sealed = tool.route.in_detail, self._segment.sealed
        is_plain = not in_detail and not sealed
        bound = self._bound(tool.word if is_plain else -1, lane)
        if tool.route.is_sampled and tool.sampler is not None:
            tool.sampler.recorder.bound = bound
            bound = self._bound(-1, lane)
        tool.detailed = self._bound(tool.word, lane) if in_detail and not sealed else None
        tool.bound = bound

    def _bound(self, word: int, lane: Lane) -> Bound:
        memory = self._segment.words, self._segment.buffer
        return bound_of(word, self._session.word, self._rows.ready, memory, lane.writer.current)

    def refill(self, tool: Tool, exhausted: Iterator[int]) -> bool:
        """Another grant than the *exhausted* one; False when the ring is full. Guarded."""
        lane = tool.lane
        if lane is None:
            return False
        if lane.writer.current.positions is exhausted:
            self._refills += 1
            now_s = self._look_around()
            if self._promotes(tool, lane) or self._outgrows(lane, now_s):
                pass
            elif lane.writer.grant() is None:
                self._wake_collector()
                if not self._lanes.grow(lane, self.ring):
                    return False
            elif lane.writer.in_halves and lane.writer.is_pressed:
                self._wake_collector()
        if tool.bound is not None:
            self.bind(tool)
        return True

    def _promotes(self, tool: Tool, lane: Lane) -> bool:
        """Give *tool* a lane of its own, if it is one that fills the shared one."""
        if lane.callee != SHARED:
            return False
        own = self._lanes.promoted(tool.name, tool.callees, self.ring)
        if own is not None:
            tool.lane = own
        return own is not None

    def _outgrows(self, lane: Lane, now_s: float) -> bool:
        """Give the lane a larger ring, if it has gone through its own in a hurry all the time."""
        if not lane.writer.in_halves or not lane.is_hurried(now_s):
            return False
        return self._lanes.widen(lane, self.ring)

    def _wake_collector(self) -> None:
        """A ring fills up: let the collector look before its time, a few hundred times a second."""
        now = time.monotonic()
        if now - self._woken_at_s > _WAKE_PAUSE_S:
            self._woken_at_s = now
            if not wake(self._session.directory):
                # Nobody drains, and calls will be lost: not before the next second's look.
                self._session.start_collector()

    def _look_around(self) -> float:
        """What is rare enough to be done at refills: a dead collector, spent rows; the time."""
        if self._refills % _LOOK_AT_ROWS_EVERY == 0:
            self._rows.replace_spent()
        now = time.monotonic()
        if now - self._checked_at_s > _COLLECTOR_CHECK_S:
            self._checked_at_s = now
            self._session.stay_present()
            self._session.start_collector()
        return now
