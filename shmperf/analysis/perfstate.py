"""
A tool's behaviour, recent calls counting more: the ``perf_summary`` of its artifact.

    Totals since the last look ──► PerfState ──► perf_summary
                                       ▲
                 another collector's, or yesterday's

Every figure decays: after a half-life a call weighs half of one that ends now. What is counted
(calls, errors, aborted ones) and the overall mean do not. The state is what merges: figures of two
times are brought to the later one and added, in any order with the same result. A summary holds
for the moment of the last call, ``last_updated``, so that a tool at rest has a constant summary;
`evidence` brings one to a later moment.

    avg_duration_ms      decayed mean of the finished calls; null without one, as are the next two
    p50_ms, p95_ms       from a decayed histogram, at most one of its buckets (4.4 %) off
    call_count           finished calls, failed ones too
    error_count          calls that raised or timed out
    aborted_count        calls whose worker died in them
    error_rate           decayed share of calls that failed: error, timeout or aborted
    success_lower_bound  Wilson's lower bound of the success rate, 95 % two-sided (z = 1.96)
    last_updated         end of the last call, ISO 8601, UTC
    window_s             seconds from the first look at the tool to the last call
    half_life_s          of the decay
    trend                recent mean duration ÷ that of all calls; 1.5: half as slow again of late
    schema               of these keys

Wilson, E. B.: Probable inference, the law of succession, and statistical inference. JASA 22 (1927).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from .totals import Totals, upper_bound

__all__ = ["KEYS", "SCHEMA", "Evidence", "PerfState", "evidence", "forgotten", "wilson_lower_bound"]

SCHEMA = 1
KEYS = (
    "avg_duration_ms",
    "p50_ms",
    "p95_ms",
    "call_count",
    "error_count",
    "error_rate",
    "success_lower_bound",
    "aborted_count",
    "last_updated",
    "window_s",
    "half_life_s",
    "trend",
    "schema",
)

_Z = 1.959963984540054
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The year 9999 in Unix seconds: the last that a datetime can show.
_LAST_S = 253_402_300_799.0
# A bucket that is so small a part of all weighs nothing in any percentile.
_LEAST_SHARE = 1e-9


class PerfState(msgspec.Struct, array_like=True):
    """
    What is known of one tool's calls; pure, encodable, mergeable.

    ``at_s`` is the wall time for which the weights hold: the end of the newest call.
    """

    half_life_s: float
    at_s: float = 0.0
    since_s: float = 0.0
    calls: int = 0
    errors: int = 0
    aborted: int = 0
    total_ms: float = 0.0
    least_ms: float = math.inf
    most_ms: float = 0.0
    finished_weight: float = 0.0
    failed_weight: float = 0.0
    aborted_weight: float = 0.0
    weighted_ms: float = 0.0
    zero_weight: float = 0.0
    histogram: dict[int, float] = {}

    def add(self, totals: Totals, now_s: float) -> None:
        """
        Count the calls of *totals*, all as of the end of their last one, but never after *now_s*.

        Look often: what ended between two looks has one age.
        """
        if not totals.count and not totals.aborted:
            return
        ended_s = totals.last_ended_ns / 1e9 if totals.last_ended_ns else now_s
        ended_s = min(ended_s, now_s)
        # A clock that was set back: what seems to lie in the future has happened by now.
        self.at_s = min(self.at_s, now_s)
        self.merge(
            PerfState(
                half_life_s=self.half_life_s,
                at_s=ended_s,
                since_s=ended_s,
                calls=totals.count,
                errors=totals.errors,
                aborted=totals.aborted,
                total_ms=totals.whole_ns / 1e6,
                least_ms=math.inf if totals.min_ns is None else totals.min_ns / 1e6,
                most_ms=(totals.max_ns or 0) / 1e6,
                finished_weight=float(totals.count),
                failed_weight=float(totals.errors),
                aborted_weight=float(totals.aborted),
                weighted_ms=totals.whole_ns / 1e6,
                zero_weight=float(totals.zero_count),
                histogram={index: float(count) for index, count in totals.histogram.items()},
            )
        )

    def merge(self, other: PerfState) -> None:
        """Add what *other* knows; ValueError when it forgets at another pace."""
        if other.half_life_s != self.half_life_s:
            raise ValueError(f"half-lives of {self.half_life_s} s and {other.half_life_s} s")
        if not other.calls and not other.aborted:
            return
        if not self.calls and not self.aborted:
            self.at_s, self.since_s = other.at_s, other.since_s
        at_s = max(self.at_s, other.at_s)
        ours, theirs = self._share_at(at_s), other._share_at(at_s)
        self.at_s, self.since_s = at_s, min(self.since_s, other.since_s)
        self.calls += other.calls
        self.errors += other.errors
        self.aborted += other.aborted
        self.total_ms += other.total_ms
        self.least_ms = min(self.least_ms, other.least_ms)
        self.most_ms = max(self.most_ms, other.most_ms)
        self.finished_weight = self.finished_weight * ours + other.finished_weight * theirs
        self.failed_weight = self.failed_weight * ours + other.failed_weight * theirs
        self.aborted_weight = self.aborted_weight * ours + other.aborted_weight * theirs
        self.weighted_ms = self.weighted_ms * ours + other.weighted_ms * theirs
        self.zero_weight = self.zero_weight * ours + other.zero_weight * theirs
        least = self.finished_weight * _LEAST_SHARE
        weights = {index: weight * ours for index, weight in self.histogram.items()}
        for index, weight in other.histogram.items():
            weights[index] = weights.get(index, 0.0) + weight * theirs
        self.histogram = {index: weight for index, weight in weights.items() if weight > least}

    def summary(self) -> dict[str, object]:
        """The ``perf_summary``: numbers, one text, and None where no call has finished."""
        failures = self.failed_weight + self.aborted_weight
        trials = self.finished_weight + self.aborted_weight
        mean_ms = self.weighted_ms / self.finished_weight if self.finished_weight else None
        overall_ms = self.total_ms / self.calls if self.calls else None
        return {
            "avg_duration_ms": _rounded(self._within(mean_ms)),
            "p50_ms": _rounded(self._quantile_ms(0.50)),
            "p95_ms": _rounded(self._quantile_ms(0.95)),
            "call_count": self.calls,
            "error_count": self.errors,
            "error_rate": _rounded(min(1.0, failures / trials) if trials else None),
            "success_lower_bound": _rounded(wilson_lower_bound(trials - failures, trials)),
            "aborted_count": self.aborted,
            "last_updated": _iso(self.at_s) if trials else None,
            "window_s": _rounded(max(0.0, self.at_s - self.since_s)),
            "half_life_s": self.half_life_s,
            "trend": _rounded(mean_ms / overall_ms if mean_ms is not None and overall_ms else None),
            "schema": SCHEMA,
        }

    def _share_at(self, at_s: float) -> float:
        """What is left of a weight at *at_s*, which is not before our own time."""
        return math.exp2((self.at_s - at_s) / self.half_life_s)

    def _within(self, duration_ms: float | None) -> float | None:
        if duration_ms is None:
            return None
        return min(max(duration_ms, self.least_ms), self.most_ms)

    def _quantile_ms(self, q: float) -> float | None:
        """The duration that a share *q* of the weight does not exceed."""
        inside = sum(self.histogram.values())
        if not self.zero_weight and not inside:
            return None
        left = q * (self.zero_weight + inside) - self.zero_weight
        if left <= 0:
            return self._within(0.0)
        for index in sorted(self.histogram):
            weight = self.histogram[index]
            if left <= weight:
                lower, upper = upper_bound(index - 1), upper_bound(index)
                return self._within((lower + (upper - lower) * left / weight) / 1e6)
            left -= weight
        return self.most_ms


class Evidence(NamedTuple):
    """How many calls succeeded and failed, the older ones counting less; not whole numbers."""

    successes: float
    failures: float


def evidence(summary: Mapping[str, object], now_s: float) -> Evidence:
    """
    The decayed numbers of successes and failures at *now_s* (Unix time) behind a stored summary.

    What `wilson_lower_bound` made of them is undone: n = z² L (1 - L) / (p - L)². Where every call
    failed the bound says nothing, and all calls count. Nothing where the summary is none of ours.
    """
    rate, bound = _number(summary.get("error_rate")), _number(summary.get("success_lower_bound"))
    calls = (_number(summary.get("call_count")) or 0.0) + (
        _number(summary.get("aborted_count")) or 0.0
    )
    if rate is None or bound is None or calls <= 0:
        return Evidence(0.0, 0.0)
    success = min(max(1.0 - rate, 0.0), 1.0)
    gap = success - bound
    trials = _Z * _Z * bound * (1 - bound) / (gap * gap) if success and gap > 0 else calls
    trials = min(trials, calls)
    half_life_s = _number(summary.get("half_life_s")) or 0.0
    updated_s = _seconds(summary.get("last_updated"))
    if half_life_s > 0 and updated_s is not None:
        trials *= math.exp2(-max(0.0, now_s - updated_s) / half_life_s)
    return Evidence(trials * success, trials * (1 - success))


def forgotten(half_life_s: float) -> dict[str, object]:
    """The summary of a tool whose history was cleaned up: no call is known, nothing is measured."""
    return PerfState(half_life_s=half_life_s).summary()


def wilson_lower_bound(successes: float, trials: float) -> float | None:
    """
    The lower end of Wilson's 95 % interval of a success rate; None without a trial.

    Of the lower end alone one can be 97.5 % sure. The numbers need not be whole: decayed ones are
    an effective number of trials.
    """
    if trials <= 0:
        return None
    rate = min(max(successes / trials, 0.0), 1.0)
    square = _Z * _Z / trials
    spread = _Z * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials))
    return max(0.0, (rate + square / 2 - spread) / (1 + square))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 9)


def _iso(wall_s: float) -> str:
    moment = _EPOCH + timedelta(seconds=min(max(wall_s, 0.0), _LAST_S))
    return moment.isoformat("T", "microseconds")


def _seconds(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(value: object) -> float | None:
    """A finite number, or None for whatever else a store may hold there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
