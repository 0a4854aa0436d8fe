"""
The rings that a process's records go to: one a tool, replaced by a larger one before it is full.

Tools for which there is no memory share one ring, for whose growth a part of the memory is kept.
Among them are those without a line in the name table: their records name no line, or one that is
not there, and whoever reads them counts them under the name that the segment shows for all these.
"""

from __future__ import annotations

from collections.abc import Mapping

from shmperf.config.options import Ring
from shmperf.errors import tell
from shmperf.shm.record import Callee
from shmperf.shm.ring import RingWriter, ring_bytes
from shmperf.shm.segment import SHARED, Segment

__all__ = ["Lane", "Lanes"]

_GROWTH = 4
# The part of the budget that first rings leave to the shared one and to the growth of others.
_KEPT_BACK = 4


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

    def lane_for(self, tool: str, callees: Mapping[Callee, int], ring: Ring) -> Lane | None:
        """A lane for *tool* and its *callees*; None when there is no memory for any."""
        first = self._name(callees)
        if not first:
            self._count_nameless(tool)
            return self._shared
        used_bytes = self._segment.used_bytes + ring_bytes(ring.first_slots)
        if used_bytes > ring.budget_bytes - ring.budget_bytes // _KEPT_BACK:
            return self._shared
        writer = self._segment.add_ring(first, ring.first_slots)
        return Lane(writer, first) if writer else self._shared

    def _name(self, callees: Mapping[Callee, int]) -> int:
        """The first of *callees*, once all stand in the name table; 0 without room for one."""
        named: list[int] = []
        for callee, number in list(callees.items()):
            if number in named:
                continue  # one that got no line of its own
            if not number or not self._segment.add_callee(number, callee):
                return 0
            named.append(number)
        return named[0] if named else 0

    def _count_nameless(self, tool: str) -> None:
        if self._segment.add_nameless(tool) and (beyond := self._segment.beyond()) is not None:
            tell(
                f"no memory for further names: calls of {tool!r} and of tools that come later are "
                f"recorded as {beyond.tool!r}; what varies belongs into parameters"
            )

    def grow(self, lane: Lane, ring: Ring) -> bool:
        """Give the lane a larger ring; False when there is no memory for one."""
        larger = self._larger(lane, ring.budget_bytes)
        if larger is None:
            # It has to do with what it is: whoever fills half of it calls the collector.
            lane.writer.in_halves = True
            return False
        larger.grant()  # point: grow-made
        # First left, then retired: what is granted in a retired ring is never read.
        former, lane.writer = lane.writer, larger  # point: grow-switch
        former.retire()  # point: grow-retire
        return True

    def _larger(self, lane: Lane, budget_bytes: int) -> RingWriter | None:
        # The first noisy tools may have much; the others must still find something.
        share = 1 if lane.callee == SHARED else 5
        most = budget_bytes if lane.callee == SHARED else budget_bytes * 2 // 3
        used_bytes = self._segment.used_bytes
        for slots in (lane.writer.slots * _GROWTH, lane.writer.slots * 2):
            size = ring_bytes(slots)
            if size <= budget_bytes // share or used_bytes + size <= most:
                larger = self._segment.add_ring(lane.callee, slots)
                if larger is not None:
                    return larger
        if lane.writer.has_hole():
            # It stays full for good: an equal one, from what the others have left.
            return self._segment.add_ring(lane.callee, lane.writer.slots)
        return None
