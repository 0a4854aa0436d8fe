"""
The rings that a process's records go to: one a tool, replaced by a larger one before it is full.

Tools for which there is no memory share one ring, which never grows.
"""

from __future__ import annotations

from collections.abc import Mapping

from shmperf.config.options import Ring
from shmperf.shm.record import Callee
from shmperf.shm.ring import RingWriter, ring_bytes
from shmperf.shm.segment import SHARED, Segment

__all__ = ["Lane", "Lanes"]

_GROWTH = 4


class Lane:
    """The ring that a tool's records go to, now; several tools may share one."""

    __slots__ = ("callee", "writer")

    def __init__(self, writer: RingWriter, callee: int) -> None:
        self.writer = writer
        self.callee = callee
        writer.grant()


class Lanes:
    """The lanes of one segment."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        shared = segment.add_shared_ring()
        self._shared = Lane(shared, SHARED) if shared else None

    def lane_for(self, callees: Mapping[Callee, int], ring: Ring) -> Lane | None:
        """A lane for the tool of *callees*; None when there is no memory for their names."""
        first = 0
        for callee, number in list(callees.items()):
            if not self._segment.add_callee(number, callee):
                return None
            first = first or number
        if not first:
            return None
        writer = self._segment.add_ring(first, ring.first_slots)
        return Lane(writer, first) if writer else self._shared

    def grow(self, lane: Lane, ring: Ring) -> bool:
        """Give the lane a larger ring; False when there is no memory for one."""
        larger = self._larger(lane, ring.budget_bytes)
        if larger is None:
            return False
        larger.grant()  # point: grow-made
        # First left, then retired: what is granted in a retired ring is never read.
        former, lane.writer = lane.writer, larger  # point: grow-switch
        former.retire()  # point: grow-retire
        return True

    def _larger(self, lane: Lane, budget_bytes: int) -> RingWriter | None:
        if lane.callee == SHARED:
            return None
        # The first noisy tools may have much; the others must still find something.
        used_bytes = self._segment.used_bytes
        for slots in (lane.writer.slots * _GROWTH, lane.writer.slots * 2):
            size = ring_bytes(slots)
            if size <= budget_bytes // 5 or used_bytes + size <= budget_bytes * 2 // 3:
                return self._segment.add_ring(lane.callee, slots)
        if lane.writer.has_hole():
            # It stays full for good: an equal one, from what the others have left.
            return self._segment.add_ring(lane.callee, lane.writer.slots)
        return None
