"""
The rings that a process's records go to: one a tool, replaced by a larger one before it is full.

The first tools get a ring each, later ones begin in a ring that they share: a tool that is called
once needs a slot and not a ring. Who comes to the end of a grant there again and again gets a ring
of its own, as long as there is memory, so that a noisy tool pushes out nobody else's records. Among
those that share are the tools without a line in the name table: their records name no line, or one
that is not there, and whoever reads them counts them under the name that the segment shows.
"""

from __future__ import annotations

from collections.abc import Mapping

from shmperf.config.options import Ring
from shmperf.errors import tell
from shmperf.shm.record import Callee
from shmperf.shm.ring import RingWriter, ring_bytes
from shmperf.shm.segment import SHARED, Segment

__all__ = ["Lane", "Lanes"]

_GROWTH = (4, 2)
# Half a ring that lasts no longer than this makes the collector look more often than it would;
# after so many in a row it is no burst.
_HURRY_S = 0.2
_HURRIES = 8
# The part of the budget for the rings of those who come first, and up to which rings are larger
# than they have to be.
_FIRST_RINGS = 5
_WIDE_RINGS = 3
# Many tools that begin at once have one ring between them: it is large before it is full, and then
# gets as much again as there is, for each name adds some.
_SHARED_GROWTH = (16, 8, 4, 2, 1)


class Lane:
    """The ring that a tool's records go to, now; several tools may share one."""

    __slots__ = ("_hurries", "_refilled_at_s", "callee", "writer")

    def __init__(self, writer: RingWriter, callee: int) -> None:
        self.writer = writer
        self.callee = callee
        self._refilled_at_s = 0.0
        self._hurries = 0
        writer.grant()

    def is_hurried(self, now_s: float) -> bool:
        """True when its grants, one of which is used up now, have lasted too short for a while."""
        is_short = now_s - self._refilled_at_s < _HURRY_S
        self._refilled_at_s = now_s
        self._hurries = self._hurries % _HURRIES + 1 if is_short else 0
        return self._hurries == _HURRIES


class Lanes:
    """The lanes of one segment."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        shared = segment.add_shared_ring()
        self._shared = Lane(shared, SHARED) if shared else None
        self._nameless: set[str] = set()
        self._busy: set[str] = set()

    def lane_for(self, tool: str, callees: Mapping[Callee, int], ring: Ring) -> Lane | None:
        """A lane for *tool* and its *callees*; None when there is no memory for any."""
        first = self._name(callees)
        if not first:
            self._count_nameless(tool)
            return self._shared
        if self._segment.used_bytes > ring.budget_bytes // _FIRST_RINGS:
            return self._shared
        return self._own_lane(first, ring) or self._shared

    def promoted(self, tool: str, callees: Mapping[Callee, int], ring: Ring) -> Lane | None:
        """A lane of its own for *tool*, when it has used up a grant of the shared one before."""
        if tool not in self._busy:
            self._busy.add(tool)
            return None
        if tool in self._nameless or self._segment.used_bytes > ring.budget_bytes // 2:
            return None
        return self._own_lane(next(iter(callees.values())), ring)

    def _own_lane(self, callee: int, ring: Ring) -> Lane | None:
        writer = self._segment.add_ring(callee, ring.first_slots)
        return Lane(writer, callee) if writer else None

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
        self._nameless.add(tool)
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
        self._switch(lane, larger)
        return True

    def widen(self, lane: Lane, ring: Ring) -> bool:
        """
        Give a lane a larger ring that would do with its own; only what others do not need.

        Each look at a ring costs the collector the same, however much there is in it. Only when
        the lane's last grant is used up.
        """
        writer, segment = lane.writer, self._segment
        for factor in () if lane.callee == SHARED else _GROWTH:
            slots = writer.slots * factor
            if segment.used_bytes + ring_bytes(slots) > ring.budget_bytes // _WIDE_RINGS:
                continue
            if larger := segment.add_ring(lane.callee, slots):
                self._switch(lane, larger)
                return True
        return False

    def _switch(self, lane: Lane, larger: RingWriter) -> None:
        larger.grant()  # point: grow-made
        # First left, then retired: what is granted in a retired ring is never read.
        former, lane.writer = lane.writer, larger  # point: grow-switch
        former.retire()  # point: grow-retire

    def _larger(self, lane: Lane, budget_bytes: int) -> RingWriter | None:
        slots, used_bytes = lane.writer.slots, self._segment.used_bytes
        for factor in _SHARED_GROWTH if lane.callee == SHARED else _GROWTH:
            size = ring_bytes(slots * factor)
            # The first noisy tools may have much; the others must still find something.
            is_much = size > budget_bytes // 5 and used_bytes + size > budget_bytes * 2 // 3
            # Where many grow all should come to the same: whoever is first must not leave a quarter
            # of what it has to the others.
            is_early = factor > 2 and used_bytes + size > budget_bytes // 2
            if (is_much or is_early) and lane.callee != SHARED:
                continue
            if larger := self._segment.add_ring(lane.callee, slots * factor):
                return larger
        if lane.writer.has_hole():
            # It stays full for good: an equal one, from what the others have left.
            return self._segment.add_ring(lane.callee, slots)
        return None
