"""
How far a quantile, or a share, of few or many calls can be off: exact limits, no resampling.

    calls ──► rank of the quantile, and of its limits ──► histogram ──► value, low, high

Limits of a quantile are order statistics: of n calls those above the true quantile q are binomial
with n and 1 - q, whatever the distribution of durations is (David and Nagaraja, Order Statistics,
7.1). So the limits are exact for few calls, and with too few there is none on that side: nobody has
seen the longest one call of a hundred in twenty. Of many calls the binomial's quantile is
approximated (Cornish and Fisher, to the second term), which is off by less than a rank.

The share of failed calls has Wilson's limits. Two such figures are compared by their limits alone
(the method of variance estimates recovery, Donner and Zou 2012): a difference is as unsure as both
distances to the limit, added as squares; a ratio is a difference of logarithms.

Of a sampled tool the histogram holds estimates as well; its limits go by the calls with a record.
Calls are taken as independent of each other. Runs on a machine that is slower today are not; what
is compared should have run side by side, or more than once.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist
from typing import NamedTuple

from .totals import Totals, upper_bound

__all__ = ["Estimate", "Histogram", "difference", "ratio", "share"]

# Below so many expected on the rarer side the binomial is summed up, term by term.
_FEW = 50
# A bucket whose neighbour holds less than this share of its calls is no piece of a smooth curve: a
# limit inside it may be anywhere in it.
_SMOOTH = 1 / 3


class Estimate(NamedTuple):
    """A figure and its limits; None where there are too few calls for that one."""

    value: float
    low: float | None
    high: float | None


class Histogram:
    """The durations of one tool, asked for quantiles; nanoseconds."""

    def __init__(self, totals: Totals) -> None:
        self._counts = totals.histogram
        if any(map((0).__ge__, self._counts.values())):
            self._counts = {bucket: n for bucket, n in self._counts.items() if n > 0}
        self._buckets = sorted(self._counts)
        counts = [self._counts[bucket] for bucket in self._buckets]
        # At n stands how many calls lie in bucket n or below.
        self._up_to = list(accumulate(counts, initial=totals.zero_count))
        self.count = self._up_to[-1]
        # Of a sampled tool most of the calls that it holds are estimates of others.
        recorded = totals.count - totals.sampled_out - totals.untimed
        self._recorded = min(self.count, max(0, recorded))
        self._least = totals.min_ns or 0
        self._most = totals.max_ns if totals.max_ns is not None else math.inf

    def quantile(self, q: float, doubt: float) -> Estimate | None:
        """
        The duration that a share *q* of the calls does not exceed, None without a call.

        The limits fail to hold it with probability *doubt*, both sides together.
        """
        if not self.count or not self._recorded:
            return None
        known, each = self._recorded, self.count / self._recorded
        fewest, most = _exceeding(known, 1 - q, doubt / 2)
        low, high = known - most + 1, known - fewest
        rank = max(1, math.ceil(q * self.count - 1e-9))
        return Estimate(
            self._at(rank, 1.0),
            self._at(math.floor((low - 1) * each) + 1, 0.0) if low >= 1 else None,
            self._at(math.ceil(high * each), 1.0, is_upper=True) if high <= known else None,
        )

    def _at(self, rank: int, part: float, *, is_upper: bool = False) -> float:
        """The duration at *rank*, or where its share of a bucket begins (0) or ends (1)."""
        place = bisect_left(self._up_to, rank)
        if place == 0:
            return 0.0
        bucket = self._buckets[place - 1]
        if (is_upper or part < 1.0) and not self._is_smooth_at(bucket):
            within = float(is_upper)
        else:
            before = self._up_to[place - 1]
            within = (rank - 1 + part - before) / (self._up_to[place] - before)
        lower = upper_bound(bucket - 1)
        found = lower + (upper_bound(bucket) - lower) * within
        if found < self._least:
            return self._least
        return min(found, self._most)

    def _is_smooth_at(self, bucket: int) -> bool:
        """True when the calls in *bucket* are spread over it, as its neighbours let assume."""
        counts = self._counts
        least = counts[bucket] * _SMOOTH
        return counts.get(bucket - 1, 0) >= least and counts.get(bucket + 1, 0) >= least


@lru_cache(maxsize=1 << 16)
def _exceeding(count: int, share_above: float, doubt: float) -> tuple[int, int]:
    """
    How many of *count* calls exceed a quantile: too few, and too many, to be likely.

    The most that are exceeded by at most that many with probability *doubt* or less (-1: none), and
    the fewest that are reached so rarely.
    """
    mean = count * share_above
    if mean > _FEW:
        return _approximately(mean, share_above, doubt)
    fewest, below = -1, 0.0
    term = math.exp(count * math.log1p(-share_above))
    for number in range(count + 1):
        if 1.0 - below <= doubt:
            return fewest, number
        below += term
        if below <= doubt:
            fewest = number
        term *= (count - number) / (number + 1) * share_above / (1 - share_above)
    return fewest, count + 1


def _approximately(mean: float, share_above: float, doubt: float) -> tuple[int, int]:
    z = _deviations(1 - doubt)
    deviation = math.sqrt(mean * (1 - share_above))
    skew = (1 - 2 * share_above) * (z * z - 1) / 6
    return math.floor(mean - z * deviation + skew) - 1, math.ceil(mean + z * deviation + skew) + 1


@lru_cache(maxsize=256)
def _deviations(share_below: float) -> float:
    """How many standard deviations from the mean that share of a normal distribution ends."""
    return NormalDist().inv_cdf(share_below)


def share(part: int, whole: int, doubt: float) -> Estimate | None:
    """The share of *part* in *whole* with Wilson's limits; None of nothing."""
    if whole <= 0:
        return None
    z2 = _deviations(1 - doubt / 2) ** 2
    found = part / whole
    middle = (found + z2 / (2 * whole)) / (1 + z2 / whole)
    reach = math.sqrt(z2 * found * (1 - found) / whole + (z2 / (2 * whole)) ** 2)
    reach /= 1 + z2 / whole
    # Of none and of all rounding could pass the figure by.
    return Estimate(
        found, min(found, max(0.0, middle - reach)), max(found, min(1.0, middle + reach))
    )


def difference(a: Estimate, b: Estimate) -> Estimate:
    """How much more *b* is than *a*."""
    low = high = None
    value = b.value - a.value
    if b.low is not None and a.high is not None:
        low = value - math.hypot(b.value - b.low, a.high - a.value)
    if b.high is not None and a.low is not None:
        high = value + math.hypot(b.high - b.value, a.value - a.low)
    return Estimate(value, low, high)


def ratio(a: Estimate, b: Estimate) -> Estimate | None:
    """How many times *a* fits into *b*; None where one of them is nothing."""
    if a.value <= 0 or b.value <= 0:
        return None
    value, low, high = difference(_logarithm(a), _logarithm(b))
    exp = math.exp
    return Estimate(
        exp(value), None if low is None else exp(low), None if high is None else exp(high)
    )


def _logarithm(one: Estimate) -> Estimate:
    low = math.log(one.low) if one.low else None
    return Estimate(math.log(one.value), low, None if one.high is None else math.log(one.high))
