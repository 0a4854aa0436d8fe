"""
In which interval calls count: that of their end, but for those of a run, which count in none.

Almost every batch ended within the present interval. Whoever counts it compares its first and last
end with `begin_ns` and `end_ns`, and asks no further; ring by ring records come by their end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shmperf.storage.state import Ledger

from .wallclock import WallClock

__all__ = ["Dating"]

_FOREVER_NS = 1 << 63
# What is drained late because there is so much of it comes by then.
_PATIENCE_NS = 30 * 10**9


class Dating:
    """Dates calls by their monotonic end; the collector's thread."""

    def __init__(self, ledger: Ledger, wall: WallClock) -> None:
        # What ended from the one to the other, in monotonic time, counts in the present part.
        self.begin_ns = self.end_ns = 0
        # The end of the present interval, and how the clocks were when that was found out.
        self._until_ns = 0
        self._offset_ns = wall.offset_ns
        self._ledger = ledger
        self._wall = wall
        # The latest run: from when to when.
        self._run_ns = (_FOREVER_NS, _FOREVER_NS)

    def is_due(self) -> bool:
        """True when the present interval is over, or the clock was set."""
        wall = self._wall
        return wall.monotonic_ns() >= self._until_ns or wall.offset_ns != self._offset_ns

    def is_behind(self) -> bool:
        """True while an interval before the present one is not closed."""
        time = self._ledger.intervals.time
        return time.closed < time.latest - 1

    def look(self) -> None:
        """Time has passed, or another past was taken up."""
        ledger, offset_ns = self._ledger, self._wall.offset_ns
        # Of a past that was taken up others were told before.
        ledger.intervals.kept.let_go_untold = 0
        time = ledger.intervals.time
        time.look(self._wall.now_ns())
        self.begin_ns = time.start_ns(time.latest) - offset_ns
        self.end_ns = self._until_ns = time.start_ns(time.latest + 1) - offset_ns
        self._offset_ns = offset_ns
        run_began_ns, run_ended_ns = self._run_ns
        if self.in_run:
            self.begin_ns, self.end_ns = run_began_ns, _FOREVER_NS
        elif run_ended_ns < _FOREVER_NS:
            self.begin_ns = max(self.begin_ns, run_ended_ns)
        self.turn_back()

    def turn_back(self) -> None:
        """Count in the present part again."""
        latest = self._ledger.intervals.time.latest
        self._ledger.totals.turn(None if self.in_run else latest)

    def close(self, *, is_caught_up: bool) -> None:
        """Close what is over; if not *is_caught_up*, calls of a little before may still come."""
        now_ns = self._wall.now_ns()
        self._ledger.intervals.time.close(now_ns - (0 if is_caught_up else _PATIENCE_NS))

    @property
    def in_run(self) -> bool:
        """True while calls count in no interval."""
        began_ns, ended_ns = self._run_ns
        return began_ns < _FOREVER_NS == ended_ns

    @in_run.setter
    def in_run(self, value: bool) -> None:
        if value == self.in_run:
            return
        now_ns = self._wall.monotonic_ns()
        self._run_ns = (now_ns, _FOREVER_NS) if value else (self._run_ns[0], now_ns)
        self.look()

    def part_of(self, end_ns: int) -> int | None:
        """The interval in which what ended then counts; None when it counts in none."""
        began_ns, ended_ns = self._run_ns
        if began_ns <= end_ns < ended_ns:
            return None
        return self._ledger.intervals.time.numbered(self._wall.of(end_ns))

    def cover(self, covered: Iterable[tuple[str, int, int]]) -> None:
        """Of calls that have settled: tool, end, and how much of their time was not their own."""
        begin_ns, end_ns, present = self.begin_ns, self.end_ns, dict[str, int]()
        cover = self._ledger.intervals.cover
        for tool, ended_ns, covered_ns in covered:
            if begin_ns <= ended_ns < end_ns:
                present[tool] = present.get(tool, 0) + covered_ns
            elif (part := self.part_of(ended_ns)) is not None:
                cover(part, tool, covered_ns)
        if not self.in_run:
            for tool, covered_ns in present.items():
                cover(self._ledger.intervals.time.latest, tool, covered_ns)

    def parts_of(self, ends_ns: Sequence[int]) -> Mapping[int | None, Sequence[int]]:
        """The same of many, in about the order of their ends: their indices by part."""
        first = self.part_of(ends_ns[0])
        if first == self.part_of(ends_ns[-1]):
            return {first: range(len(ends_ns))}
        found: dict[int | None, list[int]] = {}
        for index, end_ns in enumerate(ends_ns):
            found.setdefault(self.part_of(end_ns), []).append(index)
        return found
