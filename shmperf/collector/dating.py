"""
In which interval calls count: that of their end, but for those of a run, which count in none.

Almost every batch ended within the present interval. Whoever counts it compares its first and last
end with `begin_ns` and `end_ns`, and asks no further; ring by ring records come by their end.
"""

from __future__ import annotations

from collections.abc import Sequence

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
        self._ledger = ledger
        self._wall = wall
        # The latest run: from when to when.
        self._run_ns = (_FOREVER_NS, _FOREVER_NS)

    def look(self) -> None:
        """Time has passed, or another past was taken up."""
        ledger, offset_ns = self._ledger, self._wall.offset_ns
        time = ledger.intervals.time
        time.look(self._wall.monotonic_ns() + offset_ns)
        self.begin_ns = time.start_ns(time.latest) - offset_ns
        self.end_ns = time.start_ns(time.latest + 1) - offset_ns
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
        now_ns = self._wall.monotonic_ns() + self._wall.offset_ns
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

    def parts_of(self, ends_ns: Sequence[int]) -> dict[int | None, list[int]]:
        """The same of many: the indices of *ends_ns* by part."""
        found: dict[int | None, list[int]] = {}
        for index, end_ns in enumerate(ends_ns):
            found.setdefault(self.part_of(end_ns), []).append(index)
        return found
