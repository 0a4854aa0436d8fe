"""
Calls as trace viewers draw them: nested in lanes, which stand for threads that nobody wrote down.

    worker 7   lane 0   ┌ search ───────────────────────────┐  ┌ search ──┐      roots
                        │ ┌ fetch ─┐ ┌ fetch ─┐            │  └──────────┘
               lane 1   │ └ parse ┘             …           │
               lane 2      ┌ fetch, beside the first ┐                           overlapping

A call lies in its parent's lane where it fits: when nothing else is open below the parent, and it
ends no later. A root takes the first lane of its process that is free. What is open beside its
sibling, or outlives its parent, takes the first free lane for such calls: tasks and threads.

Clocks. Starts are wall times, floats that are good to a quarter of a microsecond; durations are
exact. So of calls of a microsecond some seem to begin before their neighbour has ended: what ends
less than a microsecond after a start counts as over, and the start is moved to that end. A child
that seems to end after its parent by less ends with it.

The calls that are open at one moment are in memory, and the parents of those that come late.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from shmperf.storage.kept import KeptCall

from .ordered import by_start

__all__ = ["Lane", "Placed", "Turn", "placed"]

_TOLERANCE_US = 1.0
_REMEMBERED = 10_000
# A chain of callers that is longer, or goes round in an edited file, is cut.
_LONGEST_CHAIN = 1_000


class Lane(NamedTuple):
    """A lane of a process; of calls that overlap others, or of roots and what nests in them."""

    pid: int
    number: int
    is_overlapping: bool


class Placed:
    """
    A call and where it is drawn; microseconds since the first call of all.

    ``end_us`` is infinite for a call that never ended: nobody knows when its process died.
    ``covered_us`` is how long at least one child was open, known once it has ended.
    """

    __slots__ = ("_until", "call", "covered_us", "end_us", "is_open", "lane", "parent", "start_us")

    def __init__(self, call: KeptCall, start_us: float, parent: Placed | None) -> None:
        self.call = call
        self.start_us = start_us
        self.end_us = start_us + _length_us(call)
        self.parent = parent
        self.lane = Lane(call.pid or 0, 0, is_overlapping=False)
        self.is_open = True
        self.covered_us = 0.0
        self._until = start_us

    @property
    def is_ended(self) -> bool:
        """False for a call that never ended."""
        return self.end_us < math.inf

    @property
    def own_us(self) -> float:
        """How long no child was open; of a call that has ended."""
        return max(0.0, _length_us(self.call) - self.covered_us)

    def cover(self, child: Placed) -> None:
        """Take in when *child*, which begins now, is open; unknown where it never ended."""
        start_us, end_us = max(child.start_us, self._until), min(child.end_us, self.end_us)
        if end_us > start_us and child.is_ended:
            self.covered_us += end_us - start_us
            self._until = end_us

    def stack(self) -> list[Placed]:
        """The call and those above it, the outermost first."""
        chain: list[Placed] = []
        above: Placed | None = self
        while above is not None and len(chain) < _LONGEST_CHAIN:
            chain.append(above)
            above = above.parent
        return chain[::-1]


class Turn(NamedTuple):
    """A call begins, or ends, at ``at_us``; of each lane turns come in order and nested."""

    is_begin: bool
    call: Placed
    at_us: float


def placed(calls: Iterable[KeptCall]) -> Iterator[Turn]:
    """
    The begin and the end of each of *calls*, in the order of time.

    Calls that never ended end last, at the last moment of all, so that a viewer can close them.
    """
    return _Sweep().over(by_start(calls))


class _Lanes:
    """The lanes of one kind in one process."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._count = 0

    def take(self) -> int:
        if self._free:
            return heappop(self._free)
        self._count += 1
        return self._count - 1

    def give_back(self, number: int) -> None:
        heappush(self._free, number)


class _Sweep:
    """What is open at the moment that was reached."""

    def __init__(self) -> None:
        self._first_us: float | None = None
        self._last_us = 0.0
        self._ends: list[tuple[float, int, Placed]] = []
        self._open: dict[str, Placed] = {}
        self._recent: OrderedDict[str, Placed] = OrderedDict()
        self._stacks: dict[Lane, list[Placed]] = {}
        self._lanes: dict[tuple[int, bool], _Lanes] = {}
        self._reached: dict[Lane, float] = {}

    def over(self, calls: Iterable[KeptCall]) -> Iterator[Turn]:
        for number, call in enumerate(calls):
            if call.start_s is None:
                # A line that somebody edited has no time to draw it at.
                continue
            if self._first_us is None:
                self._first_us = call.start_s * 1e6
            start_us = call.start_s * 1e6 - self._first_us
            begun = Placed(call, start_us, self._known(call.parent))
            yield from self._close_before(begun)
            self._put(begun)
            heappush(self._ends, (begun.end_us, -number, begun))
            self._last_us = max(self._last_us, begun.start_us)
            yield Turn(True, begun, begun.start_us)
        while self._ends:
            yield self._close(heappop(self._ends)[2])

    def _known(self, parent: str | None) -> Placed | None:
        if parent is None:
            return None
        return self._open.get(parent) or self._recent.get(parent)

    def _close_before(self, begun: Placed) -> Iterator[Turn]:
        """End what has ended when *begun* begins, but nothing that it lies below."""
        above = set(map(id, begun.stack()))
        kept: list[tuple[float, int, Placed]] = []
        while self._ends and self._ends[0][0] <= begun.start_us + _TOLERANCE_US:
            ended = heappop(self._ends)
            if id(ended[2]) in above:
                kept.append(ended)
            else:
                yield self._close(ended[2])
        for ended in kept:
            heappush(self._ends, ended)

    def _put(self, begun: Placed) -> None:
        """Choose the lane of *begun*, and cut what clocks make longer than its parent."""
        parent, pid = begun.parent, begun.lane.pid
        if parent is not None and parent.is_open and _ends_together(parent, begun):
            begun.end_us = parent.end_us
            begun.start_us = min(begun.start_us, begun.end_us)
        if begun.call.id is not None:
            self._open[begun.call.id] = begun
        if self._fits(begun):
            assert parent is not None  # noqa: S101  it fits into its parent's lane
            begun.lane = parent.lane
        else:
            is_overlapping = parent is not None and parent.lane.pid == pid
            lanes = self._lanes.setdefault((pid, is_overlapping), _Lanes())
            begun.lane = Lane(pid, lanes.take(), is_overlapping)
        self._stacks.setdefault(begun.lane, []).append(begun)
        # What lay there last has ended by now, but for the clocks.
        begun.start_us = max(begun.start_us, self._reached.get(begun.lane, 0.0))
        begun.end_us = max(begun.end_us, begun.start_us)
        self._reached[begun.lane] = begun.start_us
        if parent is not None and parent.is_open:
            parent.cover(begun)

    def _fits(self, begun: Placed) -> bool:
        parent = begun.parent
        if parent is None or not parent.is_open or parent.lane.pid != begun.lane.pid:
            return False
        return self._stacks[parent.lane][-1] is parent and begun.end_us <= parent.end_us

    def _close(self, ended: Placed) -> Turn:
        ended.is_open = False
        stack = self._stacks[ended.lane]
        stack.remove(ended)
        if not stack:
            del self._stacks[ended.lane]
            pid, number, is_overlapping = ended.lane
            self._lanes[pid, is_overlapping].give_back(number)
        call_id = ended.call.id
        if call_id is not None and self._open.get(call_id) is ended:
            del self._open[call_id]
            self._recent[call_id] = ended
            if len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        if not ended.is_ended:
            return Turn(False, ended, max(self._last_us, ended.start_us))
        self._last_us = max(self._last_us, ended.end_us)
        self._reached[ended.lane] = ended.end_us
        return Turn(False, ended, ended.end_us)


def _ends_together(parent: Placed, child: Placed) -> bool:
    """True for a child that seems to end after its parent because clocks are coarse."""
    return 0 < child.end_us - parent.end_us < 2 * _TOLERANCE_US


def _length_us(call: KeptCall) -> float:
    length_s = call.duration_s
    if length_s is None or math.isnan(length_s):
        return math.inf
    return max(0.0, length_s * 1e6)
