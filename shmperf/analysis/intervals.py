"""
What every tool did when: counts, durations and own time by interval of 30 s, merged as they age.

    calls ─► dated ─► new totals by interval ─► `add` ─► take_delta ─► frame ─► open intervals, live
             a pass over all workers is over ─► close ──┘                       closed ones, packed

A call counts in the interval in which it ended (see `timeline`); so does its own time, which is
known a moment later, when it has settled. An interval is *closed* a moment after its end, and what
is closed never changes: a call that is drained later than that counts in the first that is open.
Closed ones are packed (see `packedtotals`) and merged into longer ones as they age (see `aging`).

For others in the collector: `closed_after(number)` gives what was closed behind that number, which
whoever asks remembers; who needs other lengths takes the parts of new totals that go to `add` with
each frame. For readers: `view` gives an `IntervalsView`, whose `spans()` are one interval after the
other and whose `totals()` are all of them.

Invariants
- Whatever was added is in exactly one interval, or counted as let go, or older than 30 days: so
  counts, sums and histograms of any range of intervals are exact.
- Bounded, however many tools there are and whatever they do, by 16 MiB: 3.5 of live totals (7,500
  tools with a bucket each; then they are packed early), 3 of open intervals that are packed, of the
  three lengths 2.5, 2 and 3.5, and half a MiB more of each that is on its way. 30 tools with a
  thousand calls an hour have all of it for 30 days, 100 tools hours for two weeks, and 20,000 some
  minutes of 30 s and some hours.
- A snapshot is written as fast as memory is copied: what is closed is bytes already.

    killed after …          the next collector finds
    added, not journalled   the records, still in their rings
    journalled              open intervals as they were; what is closed is closed again
    told, not journalled    the former position; the outbox was cut back as well

Why not a file of their own for closed ones: they would need a list of their files, and a rule for
each kill between two of them, to save some MiB in a snapshot of which there is one a few minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from .aging import Kept
from .packedtotals import INTERVAL_BYTES, IntervalTotals, Packed, named
from .spans import IntervalsView, only_chunk_of
from .timeline import LENGTH_NS, MOST_OPEN, Timeline
from .totals import Totals

__all__ = ["IntervalTotals", "Intervals", "IntervalsDelta", "IntervalsState", "Untold"]

_MOST_LIVE_BYTES = 7 << 19
_MOST_OPEN_BYTES = 3 << 20
# About what a live tool and a bucket of it fill.
_TOOL_BYTES, _BUCKET_BYTES = 400, 60
# Of an interval that nothing more is to be told of: no chunk has a higher number.
_WHOLE = 1 << 62


class IntervalsDelta(msgspec.Struct, array_like=True):
    """What calls added, by interval and tool; up to where all is closed, and others were told."""

    new: dict[int, dict[str, Totals]] = {}
    covered: dict[int, dict[str, int]] = {}
    closed: int = 0
    told: tuple[int, int] | None = None


class IntervalsState(msgspec.Struct, array_like=True):
    """Everything: names by place, closed intervals by length, open ones, and the positions."""

    names: list[str] = []
    kept: list[list[Packed]] = []
    open: list[Packed] = []
    closed: int = 0
    told: tuple[int, int] = (0, 0)
    let_go: int = 0


class Untold(NamedTuple):
    """A part of a closed interval that others were not told of; *position* is its end."""

    position: tuple[int, int]
    start_ns: int
    tools: dict[str, IntervalTotals]


class _Names:
    """Tools by place."""

    def __init__(self, known: list[str]) -> None:
        self.known = known
        self._places = {name: place for place, name in enumerate(known)}

    def __getitem__(self, tool: str) -> int:
        """The place of *tool*, which gets one."""
        place = self._places.get(tool)
        if place is None:
            place = self._places[tool] = len(self.known)
            self.known.append(tool)
        return place


class _Open:
    """An interval that may still grow: what is live, and what of it is packed already."""

    __slots__ = ("covered", "live", "packed", "size_bytes")

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self.live: dict[str, Totals] = {}
        self.covered: dict[str, int] = {}
        # Of what is live.
        self.size_bytes = 0

    def add(self, tool: str, new: Totals) -> None:
        """Count *new*, which is taken over."""
        known = self.live.get(tool)
        if known is None:
            self.live[tool] = new
            self.size_bytes += _TOOL_BYTES + _BUCKET_BYTES * len(new.histogram)
            return
        former = len(known.histogram)
        known.merge(new)
        self.size_bytes += _BUCKET_BYTES * (len(known.histogram) - former)

    def cover(self, tool: str, covered_ns: int) -> None:
        """So much time of *tool* was that of calls below."""
        if tool not in self.live:
            self.add(tool, Totals())
        self.covered[tool] = self.covered.get(tool, 0) + covered_ns

    def pack(self, names: _Names) -> None:
        """Nothing is live any more."""
        self.packed = self.all_packed(names)
        self.live, self.covered, self.size_bytes = {}, {}, 0

    def all_packed(self, names: _Names) -> Packed:
        """All of it; what is live stays so."""
        covered, copy = self.covered.get, self.packed.copy()
        copy.add(
            (names[tool], IntervalTotals.of(totals, covered(tool, 0)))
            for tool, totals in self.live.items()
        )
        return copy


class Intervals:
    """An analysis (see `table`): pure, one thread; ``time`` is what it is told of the clock."""

    def __init__(self) -> None:
        self.time = Timeline()
        # The number of an interval, and a chunk of it, up to which others were told.
        self.told = (0, 0)
        # Intervals that were merged into longer ones before others could be told of them.
        self.missed = 0
        self.kept = Kept()
        self._names = _Names([])
        self._open: dict[int, _Open] = {}
        # Up to here they are closed; time may have gone on, which the next delta tells.
        self._closed = 0
        self._new = IntervalsDelta()

    # --- what happens ----------------------------------------------------------------------------

    def add(self, new: Mapping[int, dict[str, Totals]]) -> None:
        """Totals by interval and tool, once a frame; they must not change afterwards."""
        self._new.new = dict(new)

    def cover(self, number: int, tool: str, covered_ns: int) -> None:
        """Calls of *tool* that ended in that interval have settled: so much was not their own."""
        tools = self._new.covered.setdefault(number, {})
        tools[tool] = tools.get(tool, 0) + covered_ns

    def tell(self, position: tuple[int, int]) -> None:
        """Others were told of everything up to that *position*."""
        self._new.told = position

    def pass_by(self) -> None:
        """Nobody is to be told of what is closed by now."""
        self.tell((self._closed, _WHOLE))
        self.missed = 0

    def has_news(self) -> bool:
        """True when something is to be journalled, or closed."""
        new = self._new
        if new.new or new.covered or new.told is not None:
            return True
        return bool(self._open) and min(self._open) <= self.time.closed

    # --- what is asked ---------------------------------------------------------------------------

    def closed_after(self, number: int) -> Iterator[tuple[int, dict[str, IntervalTotals]]]:
        """The intervals of 30 s that were closed behind that *number*; those that have calls."""
        for known, one in self.kept.finest.items():
            if known > number:
                yield known, dict(named(one.chunks.values(), self._names.known))

    def next_untold(self) -> Untold | None:
        """The first part of a closed interval that others were not told of; None without one."""
        told = self._new.told or self.told
        for number, one in self.kept.finest.items():
            if number < told[0]:
                continue
            parts = [chunk for chunk in one.chunks if (number, chunk) > told]
            if parts:
                chunk = min(parts)
                tools = dict(named([one.chunks[chunk]], self._names.known))
                return Untold((number, chunk), one.start_ns, tools)
        return None

    def view(
        self, tool: str | None = None, since_s: float | None = None, until_s: float | None = None
    ) -> IntervalsView:
        """The intervals that have a part between two wall times, of one tool or of all."""
        opened = [interval.all_packed(self._names) for interval in self._open.values()]
        kept = [
            one
            for one in [*self.kept, *opened]
            if (until_s is None or one.start_ns < until_s * 1e9)
            and (since_s is None or one.start_ns + one.length_ns > since_s * 1e9)
        ]
        if tool is not None:
            place = self._names[tool] if tool in self._names.known else -1
            kept = [only_chunk_of(one, place) for one in kept]
        return IntervalsView(
            names=self._names.known,
            kept=sorted(kept, key=_start_of),
            first_open_ns=(self._closed + 1) * LENGTH_NS,
            let_go=self.kept.let_go,
            tool=tool,
        )

    @property
    def size_bytes(self) -> int:
        """About what all of it fills."""
        return self.kept.size_bytes + sum(
            interval.size_bytes + interval.packed.size_bytes for interval in self._open.values()
        )

    # --- the journal -----------------------------------------------------------------------------

    def take_delta(self) -> IntervalsDelta | None:
        """What was added, and is closed, since the last delta."""
        if not self.has_news():
            return None
        delta, self._new = self._new, IntervalsDelta()
        delta.closed = self.time.closed
        self.apply(delta)
        return delta

    def apply(self, delta: IntervalsDelta) -> None:
        """Make the change of *delta*, which is taken over."""
        for number, tools in delta.new.items():
            interval = self._opened(number)
            for tool, totals in tools.items():
                interval.add(tool, totals)
        for number, covered in delta.covered.items():
            interval = self._opened(number)
            for tool, covered_ns in covered.items():
                interval.cover(tool, covered_ns)
        if delta.told is not None:
            self.told = max(self.told, delta.told)
        while self._open and min(self._open) <= delta.closed:
            self._close(min(self._open))
        self._note_closed(delta.closed)
        self._stay_within_bounds()
        gone = self.kept.age(self._closed * LENGTH_NS)
        if gone > self.told[0]:
            self.missed += 1
            self.told = gone, _WHOLE

    def clear(self) -> None:
        """Forget everything but the time: what is closed stays so."""
        self.kept, self._names, self._open = Kept(), _Names([]), {}
        self._new = IntervalsDelta()

    def state(self) -> IntervalsState:
        """All of it, packed."""
        return IntervalsState(
            names=self._names.known,
            kept=self.kept.state(),
            open=[interval.all_packed(self._names) for interval in self._open.values()],
            closed=self._closed,
            told=self.told,
            let_go=self.kept.let_go,
        )

    @classmethod
    def restore(cls, state: IntervalsState) -> Intervals:
        """Intervals that were written before."""
        found = cls()
        found._names = _Names(state.names)
        for at, kept in enumerate(state.kept):
            for one in sorted(kept, key=_start_of):
                found.kept.put(one, at)
        found._open = {one.start_ns // LENGTH_NS: _Open(one) for one in state.open}
        found._note_closed(state.closed)
        found.told = state.told
        found.kept.let_go = state.let_go
        return found

    # --- within ----------------------------------------------------------------------------------

    def _opened(self, number: int) -> _Open:
        """The open interval of that *number*, or the first that is open."""
        number = max(number, self._closed + 1)
        interval = self._open.get(number)
        if interval is None:
            interval = self._open[number] = _Open(Packed(number * LENGTH_NS, LENGTH_NS))
        return interval

    def _close(self, number: int) -> None:
        interval = self._open.pop(number)
        interval.pack(self._names)
        self.kept.put(interval.packed)
        self._note_closed(number)

    def _note_closed(self, number: int) -> None:
        self._closed = max(self._closed, number)
        self.time.closed = max(self.time.closed, self._closed)

    def _stay_within_bounds(self) -> None:
        """Pack early what is live, close early what is open; what is still too much is let go."""
        opened = self._open
        if sum(one.size_bytes for one in opened.values()) > _MOST_LIVE_BYTES:
            for one in opened.values():
                one.pack(self._names)
        while len(opened) > 1 and (
            len(opened) > MOST_OPEN
            or sum(one.packed.size_bytes for one in opened.values())
            > _MOST_OPEN_BYTES + INTERVAL_BYTES * MOST_OPEN
        ):
            self._close(min(opened))
        for one in opened.values():
            while one.packed.size_bytes > _MOST_OPEN_BYTES:
                rows = one.packed.pop(max(one.packed.chunks))
                self.kept.let(sum(totals.count for totals in rows.values()))


def _start_of(one: Packed) -> int:
    return one.start_ns
