"""
The pace of the cycle: how long it waits for records, and when each part of it has its turn again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import msgspec

__all__ = ["Clocks", "Due", "Lag", "Pressure", "Thrift", "Waits", "pressure_of"]


class Pressure(float, Enum):
    """How much rings had filled up at the last look; how much of the wait that leaves."""

    NONE = 1.0
    SOME = 0.5
    MUCH = 0.25


def pressure_of(*, has_rung: bool, fills: bool) -> Pressure:
    """Of somebody's ring that is half full, or of large rings that a look found a fourth full."""
    if has_rung:
        return Pressure.MUCH
    return Pressure.SOME if fills else Pressure.NONE


class Clocks(NamedTuple):
    """Monotonic seconds, by which the cycle waits, and nanoseconds, by which calls are timed."""

    seconds: Callable[[], float] = time.monotonic
    nanoseconds: Callable[[], int] = time.perf_counter_ns


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """How long the cycle waits for what, in seconds."""

    busy_s: float = 0.001
    watched_s: float = 0.04
    commit_s: float = 2.0
    thrift_s: float = 2.0
    rows_s: float = 0.5
    find_s: float = 0.04
    liveness_s: float = 0.25
    flush_s: float = 0.25
    config_s: float = 1.0
    optimization_s: float = 0.1
    alerts_s: float = 1.0
    storage_s: float = 1.0
    linger_s: float = 0.5
    last_write_s: float = 10.0

    def next_s(
        self, wait_s: float, pressure: Pressure, longest_s: float, *, is_watched: bool = False
    ) -> float:
        """
        How long to wait now, after *wait_s*: at most *longest_s*, less where rings fill.

        Less, too, where *is_watched*: lines are written as calls are drained, or nobody works.
        Nobody sees it wait. Who asks ends the wait, as who has filled half of a ring does; so the
        fewer looks there are, the more records there are for each to take.
        """
        if pressure is Pressure.NONE:
            longest_s = min(longest_s, self.watched_s) if is_watched else longest_s
            # From the least on: after a round that had no time to wait, 0 times 1.5 stays 0.
            return min(longest_s, max(self.busy_s, wait_s * 1.5))
        return max(self.busy_s, wait_s * pressure)


class Lag:
    """How long rings wait to be looked at: the longest time between two looks, of late."""

    def __init__(self, clock: Callable[[], float], window_s: float = 30.0) -> None:
        """Of late: in the last *window_s* or twice as long."""
        self._clock = clock
        self._window_s = window_s
        self._turned_s = self._looked_s = clock()
        self._longest_s = self._before_s = 0.0

    def look(self) -> None:
        """All rings are looked at now."""
        now_s = self._clock()
        self._longest_s = max(self._longest_s, now_s - self._looked_s)
        self._looked_s = now_s
        if now_s - self._turned_s >= self._window_s:
            self._before_s, self._longest_s = self._longest_s, 0.0
            self._turned_s = now_s

    @property
    def longest_s(self) -> float:
        """The longest of them, the one that goes on included."""
        return max(self._longest_s, self._before_s, self._clock() - self._looked_s)


# Where a pass found so many batches with fewer records each than are worth a batch's own cost.
_MANY_BATCHES, _WORTH_RECORDS = 32, 16


class Thrift:
    """
    When rings are worth being read again, where many tools have few calls each.

    A batch costs as much as a good ten of its records, so a second of a thousand calls over two
    hundred tools costs less in one pass than in two. Who asks, or rings, does not wait for that.
    """

    def __init__(self, clock: Callable[[], float], longest_s: float) -> None:
        """Rings wait no longer than *longest_s*."""
        self._clock = clock
        self._longest_s = longest_s
        self._read_s = clock()
        self._wait_s = 0.0

    def is_due(self) -> bool:
        """True when it is time for the next pass."""
        return self._clock() - self._read_s >= self._wait_s

    def note(self, records: int, batches: int) -> None:
        """A pass that began now has found so many *records* in so many *batches*."""
        now_s = self._clock()
        since_s, self._read_s = now_s - self._read_s, now_s
        self._wait_s = 0.0
        if batches >= _MANY_BATCHES and 0 < records < batches * _WORTH_RECORDS:
            self._wait_s = min(self._longest_s, since_s * batches * _WORTH_RECORDS / records)


class Due:
    """When each part of the cycle has its turn again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at_s: dict[str, float] = {}

    def __call__(self, what: str, interval_s: float) -> bool:
        """True once in *interval_s*."""
        if self._clock() < self._at_s.get(what, 0.0):
            return False
        self.put_off(what, interval_s)
        return True

    def put_off(self, what: str, interval_s: float) -> None:
        """It has had its turn just now."""
        self._at_s[what] = self._clock() + interval_s
