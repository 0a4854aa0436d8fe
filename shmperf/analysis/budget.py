"""
One of how many calls to record, so that recording costs at most a share of the tool's own time.

    a call's mean duration × budget = what recording may cost a call
        all recorded                        recorded
        one of N, slow ones kept            counted + clocks + (recorded - counted - clocks) / N
        one of N, without a clock           counted + (recorded - counted) / N
        not even that                       counted, and a record now and then

The first row that fits is taken, with the smallest power of two that does. What a call costs is
measured by others; its duration is the tool's own mean of late. A choice holds until that mean has
left it by a factor, so that nothing goes to and fro while durations vary by a fifth either way.

Why not the cost of each tool, measured in its worker: two more clocks a call are what this is to
save. Why not always the greatest N: beyond a few dozen, counting is what costs.
"""

from __future__ import annotations

import math

import msgspec

__all__ = ["Choice", "Costs", "choose"]

# More is saved by nothing.
MOST_EVERY = 4_096
# Fewer records, of those that fit a budget, would say too little.
_MOST_FITTING = 256
# A fifth less and a fifth more are a factor of 1.5 apart.
_LEAVES = 1.6


class Costs(msgspec.Struct, frozen=True):
    """
    What a call costs beyond itself, in nanoseconds: with a record, counted, two clocks.

    ``inside_ns`` is the part of a record's that falls between its two times.
    """

    recorded_ns: float
    counted_ns: float
    clocks_ns: float
    inside_ns: float = 0.0

    def own_ns(self, timed_ns: float) -> float:
        """What a call takes by itself that was timed to take *timed_ns*."""
        return max(timed_ns - self.inside_ns, timed_ns / 10)


class Choice(msgspec.Struct, frozen=True):
    """One of *every* calls, slow ones too if *keeps_slow*; why, and for which mean duration."""

    every: int
    keeps_slow: bool
    reason: str
    mean_ns: float = 0.0

    def holds_for(self, mean_ns: float) -> bool:
        """True when a tool whose calls take *mean_ns* now goes on as it is."""
        return self.mean_ns / _LEAVES <= mean_ns <= self.mean_ns * _LEAVES


def choose(budget: float, mean_ns: float, costs: Costs) -> Choice:
    """The choice for a tool whose calls take *mean_ns*, when recording may cost that *budget*."""
    allowed_ns = budget * mean_ns
    share = f"of {_duration(mean_ns)} a call"
    if costs.recorded_ns <= allowed_ns:
        found = costs.recorded_ns / mean_ns if mean_ns else 0.0
        return Choice(1, True, f"recording all costs {found:.1%} {share}", mean_ns)
    for keeps_slow in (True, False):
        counted_ns = costs.counted_ns + (costs.clocks_ns if keeps_slow else 0.0)
        every = _least_every(allowed_ns, counted_ns, costs.recorded_ns)
        if every:
            cost_ns = counted_ns + (costs.recorded_ns - counted_ns) / every
            clocked = "" if keeps_slow else "; no time for clocks"
            reason = f"one of {every} costs {cost_ns / mean_ns:.1%} {share}{clocked}"
            return Choice(every, keeps_slow, reason, mean_ns)
    least = costs.counted_ns / mean_ns if mean_ns else math.inf
    reason = f"counting alone costs {least:.1%} {share}: more than the budget, and the least"
    return Choice(MOST_EVERY, False, reason, mean_ns)


def _least_every(allowed_ns: float, counted_ns: float, recorded_ns: float) -> int:
    """The smallest power of two that fits; 0 when none does."""
    left_ns = allowed_ns - counted_ns
    if left_ns <= 0:
        return 0
    every = 1 << max(1, math.ceil(math.log2(max(1.0, (recorded_ns - counted_ns) / left_ns))))
    return every if every <= _MOST_FITTING else 0


def _duration(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"
