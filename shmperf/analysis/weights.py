"""
What the calls of a sampled tool took that have no record: as its ordinary recorded ones lately.

    ordinary, chosen ──► shape ──► spread over the calls that the histogram lacks
    failed, slow     ──► all are recorded: they stand for themselves, and for nobody else

This is post-stratification (Cochran, Sampling Techniques, 5A.9): each stratum has its exact count.
One of slow and failed calls is recorded whole; of ordinary ones the chosen stand for the others.
Without that a p50 is off by as much as failures and slow calls are more likely to have a record.

The shape is of the calls that came with the last batch, and where these are few of those before,
the older counting less. So each recorded call stands for about as many others, and where durations
or the share that is recorded change, calls before the change say nothing of those after it. (Over
all calls so far, the first would stand for many more than the last: a third more of error.) Calls
are spread in whole numbers, in the order of buckets, each time from another fraction, so that a few
of them at a time come out in the same shares as many at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from .totals import Totals, bucket_counts

__all__ = ["Shape"]

# What older calls make a batch up to; and when one of them counts for nothing.
_MOST, _LEAST = 128, 0.01
# The golden section's fraction: its multiples leave no gap in (0, 1) that is much too large.
_STEP = 0.6180339887498949


class Shape:
    """The shares of durations among ordinary calls of one tool; pure, one thread."""

    __slots__ = ("_buckets", "_calls", "_phase", "_sum_ns", "_zeros")

    def __init__(self) -> None:
        self._buckets: dict[int, float] = {}
        self._zeros = self._calls = self._sum_ns = self._phase = 0.0

    def add(self, durations_ns: Sequence[int]) -> None:
        """Take up the durations of calls that were chosen, and neither failed nor were slow."""
        if not durations_ns:
            return
        self._fade(max(0, _MOST - len(durations_ns)))
        above = [duration for duration in durations_ns if duration > 0]
        for index, count in bucket_counts(above).items():
            self._buckets[index] = self._buckets.get(index, 0.0) + count
        self._zeros += len(durations_ns) - len(above)
        self._calls += len(durations_ns)
        self._sum_ns += sum(above)

    def spread(self, totals: Totals, missing: int) -> None:
        """Let *missing* calls of *totals* have durations of this shape; none without a shape."""
        if not self._calls or missing <= 0:
            return
        self._phase = (self._phase + _STEP) % 1.0
        a_call, reached = missing / self._calls, self._phase
        shares: dict[int, int] = {}
        last = max(self._buckets, default=0)
        reached += self._zeros * a_call
        zeros = min(missing, int(reached)) if self._buckets else missing
        given = zeros
        for index in sorted(self._buckets):
            reached += self._buckets[index] * a_call
            up_to = missing if index == last else min(missing, int(reached))
            if up_to > given:
                shares[index], given = up_to - given, up_to
        totals.estimate(shares, zeros, round(self._sum_ns * a_call))

    def _fade(self, calls: int) -> None:
        """Let what is known count as at most so many *calls*."""
        if self._calls <= calls:
            return
        share = calls / self._calls
        self._buckets = {i: n * share for i, n in self._buckets.items() if n * share > _LEAST}
        self._zeros *= share
        self._sum_ns *= share
        self._calls = self._zeros + sum(self._buckets.values())
