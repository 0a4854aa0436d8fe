"""
Counts and durations of one tool since the last cleanup: constant size, mergeable without loss.

Durations go into a base-2 exponential histogram, the one of the OpenTelemetry metrics data model
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram): at scale s a
bucket i holds values in (b**i, b**(i+1)] with b = 2 ** (2 ** -s), and what is zero or less has a
count of its own. Values are seconds, so an index here is the index there, and in a native histogram
of Prometheus (schema s) one less than its own. At the scale used here a bucket is 4.4 % wide, so a
percentile is at most that far off; two histograms merge by adding buckets.

Boundaries are integers of nanoseconds, floor(10**9 * 2 ** (k / 16)), computed once and exactly: an
integer is above a boundary when it is above its floor. So a duration finds its bucket by bisection
in C, without rounding.

Of a sampled tool ``count`` is exact and most calls have no record: what they took is put into the
same histogram, as an estimate (see `weights`), so that whoever reads it reads all calls. Calls that
nobody timed (they failed, and were not chosen) are in ``count`` and in no histogram.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import accumulate
from typing import Annotated, TypeVar

import msgspec

from shmperf.compiled.chosen import hot
from shmperf.shm.ring import Batch

__all__ = [
    "SCALE",
    "Bucket",
    "Totals",
    "bucket_counts",
    "bucket_of",
    "in_seconds",
    "upper_bound",
]

SCALE = 4
_PER_OCTAVE = 1 << SCALE
_SECOND_NS = 10**9
# The lowest boundary is below a nanosecond, the highest above the greatest duration.
_LOWEST, _HIGHEST = -480, 530
# Sums stop here: msgpack can write no more, and times come from other processes.
_MOST_NS = (1 << 63) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# From buckets of base 2 in nanoseconds: 16 * log2(10**9) = 478.4 boundaries lie below one second.
_BELOW_A_SECOND = 478

T = TypeVar("T", int, float)


def _floor_of_boundary(k: int) -> int:
    """
    The floor of 10**9 * 2 ** (k / 16) nanoseconds, which is 2 ** (k / 16) seconds.

    Its 16th power is taken first, then a square root for each of the scale's halvings: the floor of
    a root is the root of the floor's.
    """
    power: int = _SECOND_NS**_PER_OCTAVE
    power = power << k if k >= 0 else power >> -k
    for _ in range(SCALE):
        power = math.isqrt(power)
    return power


# The highest octave's, of which any lower one's are halves of halves: a floor's floor is the floor.
_OCTAVE = _HIGHEST // _PER_OCTAVE + 1
_TOP = [_floor_of_boundary(_OCTAVE * _PER_OCTAVE + part) for part in range(_PER_OCTAVE)]
# At n stands the floor of the lower boundary of bucket _LOWEST + n, the upper one of that before.
_BOUNDARIES = tuple(
    _TOP[k % _PER_OCTAVE] >> _OCTAVE - k // _PER_OCTAVE for k in range(_LOWEST, _HIGHEST + 1)
)
_place = partial(bisect_left, _BOUNDARIES)
_FIRST = _LOWEST - 1
# The same as words, for the compiled path.
_WORDS = array("Q", _BOUNDARIES)
# To make a Counter of so many takes longer than to count them.
_FEW = 16


# Nothing read from a journal may lie beyond, or its boundary would be no number.
Bucket = Annotated[int, msgspec.Meta(ge=_LOWEST, le=_HIGHEST)]


def bucket_of(duration_ns: int) -> int:
    """Return the index of the bucket that holds *duration_ns*, which is above zero."""
    return _place(duration_ns) + _FIRST


def bucket_counts(durations_ns: Sequence[int]) -> dict[int, int]:
    """How many of *durations_ns*, all above zero, each bucket holds."""
    return {place + _FIRST: n for place, n in Counter(map(_place, durations_ns)).items()}


# All buckets that there may be, and one below: comparisons ask for some a million times.
@lru_cache(maxsize=4096)
def upper_bound(index: int) -> float:
    """Return the greatest duration, in nanoseconds, that bucket *index* holds."""
    return _SECOND_NS * math.pow(2.0, (index + 1) / _PER_OCTAVE)


def in_seconds(histogram: Mapping[int, T]) -> dict[int, T]:
    """
    A *histogram* of the former buckets, of base 2 in nanoseconds, in buckets of seconds.

    16 * log2(10**9) = 478.35 is no integer, so no former boundary is one of today's: each count
    goes as a whole to the bucket that shares most (65 %) with its own. A call is at most one bucket
    too high, and a percentile at most one bucket's width (4.4 %) further off than before. Count,
    sum, least and greatest are no part of it and stay exact.
    """
    return {index - _BELOW_A_SECOND: count for index, count in histogram.items()}


class ToolStats(msgspec.Struct, kw_only=True):
    """
    One tool's statistics; durations in seconds.

    Without a finished call the durations and the time of the last update are None. ``current_size``
    counts records that are kept, ``max_size`` is the tool's limit; ``in_flight`` are the calls that
    are open now; ``complete`` is false where calls that had ended may be missing. ``histogram`` has
    the durations by bucket (see above); what is missing there of ``count`` took no time at all, or
    was not timed. ``estimated`` is true where histogram, mean and percentiles are: calls were
    sampled out, while ``count`` stays exact.
    """

    tool: str
    count: int
    avg_duration_s: float | None
    min_duration_s: float | None
    max_duration_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    errors: int
    aborted: int
    sampled_out: int
    current_size: int
    max_size: int
    last_updated: str | None
    in_flight: int = 0
    complete: bool
    histogram: dict[int, int] = {}
    estimated: bool = False


class Totals(msgspec.Struct, array_like=True):
    """
    One tool's totals. ``count`` is the finished calls; aborted ones have no duration.

    ``errors`` counts errors and timeouts. ``last_ended_ns`` is wall time, 0 when nothing ended.
    ``sampled_out`` and ``untimed`` are parts of ``count``.
    """

    count: int = 0
    errors: int = 0
    aborted: int = 0
    sampled_out: int = 0
    sum_ns: int = 0
    min_ns: int | None = None
    max_ns: int | None = None
    zero_count: int = 0
    histogram: dict[Bucket, int] = {}
    last_ended_ns: int = 0
    untimed: int = 0

    def add(self, durations_ns: Sequence[int], errors: int, last_ended_ns: int) -> None:
        """
        Count finished calls; *errors* of them failed, the last ended at *last_ended_ns*.

        A negative duration counts as none.
        """
        if len(durations_ns) < 2:
            for duration in durations_ns:
                self._add_one(min(max(0, duration), _MOST_NS))
                self.errors += errors
                self.last_ended_ns = max(self.last_ended_ns, min(last_ended_ns, _MOST_NS))
            return
        least, most = min(durations_ns), max(durations_ns)
        if least <= 0:
            above = [duration for duration in durations_ns if duration > 0]
            self.zero_count += len(durations_ns) - len(above)
            self._fill(above)
            self.sum_ns = min(self.sum_ns + sum(above), _MOST_NS)
        else:
            self._fill(durations_ns)
            self.sum_ns = min(self.sum_ns + sum(durations_ns), _MOST_NS)
        self.count += len(durations_ns)
        self.errors += errors
        self._widen(min(max(least, 0), _MOST_NS), min(max(most, 0), _MOST_NS))
        self.last_ended_ns = max(self.last_ended_ns, min(last_ended_ns, _MOST_NS))

    def add_batch(self, batch: Batch, errors: int, last_ended_ns: int) -> None:
        """Count all calls of *batch*, which is not empty; as `add`."""
        if hot is None or type(batch) is not hot.Batch:
            self.add(batch.durations(), errors, last_ended_ns)
            return
        zeros, sum_ns = hot.count_durations(batch, _WORDS, _FIRST, self.histogram)
        least, most, *_ = batch.spread()
        self.zero_count += zeros
        self.sum_ns = min(self.sum_ns + sum_ns, _MOST_NS)
        self.count += len(batch)
        self.errors += errors
        self._widen(least, most)
        self.last_ended_ns = max(self.last_ended_ns, min(last_ended_ns, _MOST_NS))

    def add_untimed(self, calls: int, errors: int, last_ended_ns: int) -> None:
        """Count finished calls of which nobody knows how long they took."""
        self.count += calls
        self.untimed += calls
        self.errors += errors
        self.last_ended_ns = max(self.last_ended_ns, min(last_ended_ns, _MOST_NS))

    def count_out(self, calls: int, last_ended_ns: int) -> None:
        """Count *calls* without a record, which had ended at *last_ended_ns*."""
        self.count += calls
        self.sampled_out += calls
        self.last_ended_ns = max(self.last_ended_ns, min(last_ended_ns, _MOST_NS))

    def estimate(self, buckets: Mapping[int, int], zeros: int, sum_ns: int) -> None:
        """Let calls that are counted already have these durations."""
        self.zero_count += zeros
        self.sum_ns = min(self.sum_ns + sum_ns, _MOST_NS)
        for index, count in buckets.items():
            self.histogram[index] = self.histogram.get(index, 0) + count

    @property
    def timed(self) -> int:
        """The calls that the histogram holds; all, unless some are sampled out or untimed."""
        if not self.sampled_out and not self.untimed:
            return self.count
        return self.zero_count + sum(self.histogram.values())

    @property
    def missing(self) -> int:
        """The calls that the histogram lacks, so far."""
        return self.count - self.untimed - self.timed

    @property
    def whole_ns(self) -> int:
        """What all calls took together, those included that the histogram lacks so far."""
        timed = self.timed
        if timed == self.count or not timed:
            return self.sum_ns
        return min(round(self.sum_ns / timed * self.count), _MOST_NS)

    @property
    def mean_ns(self) -> float | None:
        """What a call took on average, or None."""
        timed = self.timed
        return self.sum_ns / timed if timed else None

    def _add_one(self, duration_ns: int) -> None:
        self.count += 1
        self.sum_ns = min(self.sum_ns + duration_ns, _MOST_NS)
        if duration_ns:
            index = _place(duration_ns) + _FIRST
            self.histogram[index] = self.histogram.get(index, 0) + 1
        else:
            self.zero_count += 1
        self._widen(duration_ns, duration_ns)

    def merge(self, other: Totals) -> None:
        """Add what *other* counted."""
        self.count += other.count
        self.errors += other.errors
        self.aborted += other.aborted
        self.sampled_out += other.sampled_out
        self.untimed += other.untimed
        self.sum_ns = min(self.sum_ns + other.sum_ns, _MOST_NS)
        self.zero_count += other.zero_count
        if other.min_ns is not None and other.max_ns is not None:
            self._widen(other.min_ns, other.max_ns)
        for index, count in other.histogram.items():
            self.histogram[index] = self.histogram.get(index, 0) + count
        self.last_ended_ns = max(self.last_ended_ns, other.last_ended_ns)

    def minus(self, earlier: Totals) -> Totals:
        """
        Return what was counted since *earlier*, a former state of these totals.

        Exact, but for the least and the greatest duration where those of all calls are older: then
        they are off by a bucket's width at most.
        """
        left = {
            index: count - earlier.histogram.get(index, 0)
            for index, count in self.histogram.items()
            if count > earlier.histogram.get(index, 0)
        }
        rest = Totals(
            count=self.count - earlier.count,
            errors=self.errors - earlier.errors,
            aborted=self.aborted - earlier.aborted,
            sampled_out=self.sampled_out - earlier.sampled_out,
            untimed=self.untimed - earlier.untimed,
            sum_ns=self.sum_ns - earlier.sum_ns,
            zero_count=self.zero_count - earlier.zero_count,
            histogram=left,
        )
        if rest.count or rest.aborted:
            rest.last_ended_ns = self.last_ended_ns
        if rest.count == 1 and rest.timed == 1:
            rest.min_ns = rest.max_ns = rest.sum_ns
        elif rest.timed and self.min_ns is not None and self.max_ns is not None:
            rest.min_ns, rest.max_ns = self.min_ns, self.max_ns
            if self.min_ns == earlier.min_ns:
                rest.min_ns = rest._least(self.min_ns)
            if self.max_ns == earlier.max_ns:
                rest.max_ns = min(self.max_ns, rest._most())
        return rest

    def _least(self, least_ns: int) -> int:
        """The lower bound of all durations: *least_ns*, or the first bucket's own."""
        if self.zero_count or not self.histogram:
            return 0
        return max(least_ns, math.floor(upper_bound(min(self.histogram) - 1)))

    def _most(self) -> int:
        return math.ceil(upper_bound(max(self.histogram))) if self.histogram else 0

    def quantile(self, q: float) -> int | None:
        """
        Return the duration in nanoseconds that a share *q* of the calls does not exceed, or None.

        By nearest rank, interpolated inside the bucket that holds it: at most a bucket's width off.
        """
        return self.quantiles((q,))[0]

    def quantiles(self, shares: Sequence[float]) -> list[int | None]:
        """The same for each of *shares*, with one look at the histogram."""
        if not all(0.0 <= q <= 1.0 for q in shares):
            raise ValueError(f"a quantile lies between 0 and 1, not at {shares}")
        if self.min_ns is None or self.max_ns is None:
            return [None] * len(shares)
        indexes, timed = sorted(self.histogram), self.timed
        up_to = list(accumulate(map(self.histogram.__getitem__, indexes), initial=self.zero_count))
        found: list[int | None] = []
        for q in shares:
            # 0.07 * 100 is a little more than 7.
            rank = max(1, math.ceil(q * timed - 1e-9))
            place = bisect_left(up_to, rank)
            if place == 0:
                found.append(0)
            elif place > len(indexes):
                found.append(self.max_ns)
            else:
                index, below = indexes[place - 1], up_to[place - 1]
                lower, upper = upper_bound(index - 1), upper_bound(index)
                estimate = lower + (upper - lower) * (rank - below) / (up_to[place] - below)
                found.append(min(max(round(estimate), self.min_ns), self.max_ns))
        return found

    def stats(
        self,
        tool: str,
        current_size: int,
        max_size: int,
        *,
        complete: bool = True,
        in_flight: int = 0,
    ) -> ToolStats:
        """The tool's statistics as people and programs read them."""
        half, most, nearly_all = self.quantiles((0.50, 0.95, 0.99))
        return ToolStats(
            tool=tool,
            count=self.count,
            avg_duration_s=_seconds(self.mean_ns),
            min_duration_s=_seconds(self.min_ns),
            max_duration_s=_seconds(self.max_ns),
            p50_s=_seconds(half),
            p95_s=_seconds(most),
            p99_s=_seconds(nearly_all),
            errors=self.errors,
            aborted=self.aborted,
            sampled_out=self.sampled_out,
            current_size=current_size,
            max_size=max_size,
            last_updated=_iso(self.last_ended_ns) if self.last_ended_ns else None,
            in_flight=in_flight,
            complete=complete,
            histogram=dict(sorted(self.histogram.items())),
            estimated=bool(self.sampled_out),
        )

    def _fill(self, durations_ns: Sequence[int]) -> None:
        histogram = self.histogram
        if len(durations_ns) <= _FEW:
            for index in [_place(duration) + _FIRST for duration in durations_ns]:
                histogram[index] = histogram.get(index, 0) + 1
            return
        for index, count in bucket_counts(durations_ns).items():
            histogram[index] = histogram.get(index, 0) + count

    def _widen(self, least: int, most: int) -> None:
        self.min_ns = least if self.min_ns is None else min(self.min_ns, least)
        self.max_ns = most if self.max_ns is None else max(self.max_ns, most)


def _seconds(duration_ns: float | None) -> float | None:
    return None if duration_ns is None else duration_ns / 1e9


def _iso(wall_ns: int) -> str:
    return (_EPOCH + timedelta(microseconds=wall_ns // 1000)).isoformat("T", "microseconds")
