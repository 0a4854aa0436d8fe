"""
Counts and durations of one tool since the last cleanup: constant size, mergeable without loss.

Durations go into a base-2 exponential histogram, the one of the OpenTelemetry metrics data model
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram): at scale s a
bucket i holds values in (b**i, b**(i+1)] with b = 2 ** (2 ** -s). At the scale used here a bucket
is 4.4 % wide, so a percentile is at most that far off; two histograms merge by adding buckets.

Boundaries are integers, computed once, so a duration is put into its bucket by bisection in C and
without rounding: comparing with the floor of a boundary decides like the boundary itself.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

__all__ = ["SCALE", "Totals", "bucket_of", "upper_bound"]

SCALE = 4
_PER_OCTAVE = 1 << SCALE
_OCTAVES = 63
_BOUNDARIES = tuple(
    math.floor(2.0 ** (index / _PER_OCTAVE)) for index in range(_OCTAVES * _PER_OCTAVE + 1)
)
_ZERO = -1

_bucket = partial(bisect_left, _BOUNDARIES)


def bucket_of(duration_ns: int) -> int:
    """The index of the bucket that holds *duration_ns*; durations of up to 1 ns share -1."""
    return _bucket(duration_ns) - 1


def upper_bound(index: int) -> float:
    """The greatest duration, in nanoseconds, that bucket *index* holds."""
    return math.pow(2.0, (index + 1) / _PER_OCTAVE)


class Totals(msgspec.Struct, array_like=True):
    """One tool's totals. ``count`` is the finished calls; aborted ones have no duration."""

    count: int = 0
    errors: int = 0
    aborted: int = 0
    sampled_out: int = 0
    sum_ns: int = 0
    min_ns: int | None = None
    max_ns: int | None = None
    last_ended_ns: int = 0
    buckets: dict[int, int] = {}

    def add(self, durations_ns: Sequence[int], errors: int, last_ended_ns: int) -> None:
        """Count finished calls; *errors* of them failed, the last ended at *last_ended_ns*."""
        if not durations_ns:
            return
        least, most = min(durations_ns), max(durations_ns)
        self.count += len(durations_ns)
        self.errors += errors
        self.sum_ns += sum(durations_ns)
        self.min_ns = least if self.min_ns is None else min(self.min_ns, least)
        self.max_ns = most if self.max_ns is None else max(self.max_ns, most)
        self.last_ended_ns = max(self.last_ended_ns, last_ended_ns)
        buckets = self.buckets
        for bound, count in Counter(map(_bucket, durations_ns)).items():
            buckets[bound - 1] = buckets.get(bound - 1, 0) + count

    def merge(self, other: Totals) -> None:
        """Add what *other* counted."""
        self.count += other.count
        self.errors += other.errors
        self.aborted += other.aborted
        self.sampled_out += other.sampled_out
        self.sum_ns += other.sum_ns
        self.min_ns = _least(self.min_ns, other.min_ns)
        if other.max_ns is not None:
            self.max_ns = other.max_ns if self.max_ns is None else max(self.max_ns, other.max_ns)
        self.last_ended_ns = max(self.last_ended_ns, other.last_ended_ns)
        for index, count in other.buckets.items():
            self.buckets[index] = self.buckets.get(index, 0) + count

    def quantile(self, q: float) -> int | None:
        """The duration in nanoseconds that a share *q* of the calls does not exceed, or None."""
        if not self.count or self.min_ns is None or self.max_ns is None:
            return None
        rank = q * (self.count - 1) + 1
        below = 0
        for index in sorted(self.buckets):
            inside = self.buckets[index]
            if below + inside >= rank:
                share = (rank - below) / inside
                lower = 0.0 if index == _ZERO else upper_bound(index - 1)
                found = lower + (upper_bound(index) - lower) * share
                return round(min(max(found, self.min_ns), self.max_ns))
            below += inside
        return self.max_ns

    def stats(self, tool: str, *, current_size: int, max_size: int) -> dict[str, Any]:
        """The tool's statistics as people and programs read them; durations in seconds."""
        average = self.sum_ns / self.count / 1e9 if self.count else None
        return {
            "tool": tool,
            "count": self.count,
            "avg_duration_s": average,
            "min_duration_s": _seconds(self.min_ns),
            "max_duration_s": _seconds(self.max_ns),
            "p50_s": _seconds(self.quantile(0.50)),
            "p95_s": _seconds(self.quantile(0.95)),
            "p99_s": _seconds(self.quantile(0.99)),
            "errors": self.errors,
            "aborted": self.aborted,
            "sampled_out": self.sampled_out,
            "current_size": current_size,
            "max_size": max_size,
            "last_updated": _iso(self.last_ended_ns) if self.last_ended_ns else None,
        }


def _least(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _seconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / 1e9


def _iso(wall_ns: int) -> str | None:
    try:
        return datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat("T", "microseconds")
    except (OverflowError, ValueError, OSError):
        return None
