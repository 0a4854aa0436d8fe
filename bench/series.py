"""
Series of calls whose changes are known: what alerts are measured with.

A kind says how durations spread, how often calls come, how often they fail, and what changes, if
anything. Every series, quiet or not, wanders as machines do: its level is multiplied by a slow
random walk (an AR(1) process of 6 % deviation and ten minutes' memory). Calls are drawn one by one
and counted into the buckets of `shmperf.analysis.totals`, by stretches of any length.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shmperf.analysis.changes import Group

__all__ = ["CHANGES", "QUIET", "Kind", "Source"]

Durations = NDArray[np.float64]

_DAY_S = 86_400.0
_WANDER_STEP_S = 30.0
_WANDER_KEPT, _WANDER_SD = 0.95, 0.02
_PER_OCTAVE = 16


@dataclass(frozen=True)
class Kind:
    """
    How a tool behaves: *spread* draws durations in seconds around 1, ``usual_s`` scales them.

    From the change on: ``times`` and ``drift_s`` for the level, ``wider`` for the spread of a
    log-normal tool, ``far`` is the share of calls that take 20 times as long, ``failing`` the share
    that fails; it lasts ``lasts_s``. Targets are seconds; a change without any may be missed.
    """

    name: str
    spread: Callable[[np.random.Generator, int, float], Durations] = field(
        default=lambda rng, count, wider: _lognormal(rng, count, 0.5 * wider)
    )
    usual_s: float = 0.02
    a_second: float = 10.0
    fails: float = 0.001
    daily: float = 0.0
    rate_daily: float = 0.0
    load: tuple[float, float] = (0.0, 1.0)
    bursts: bool = False
    # The change.
    times: float = 1.0
    drift_s: float = 0.0
    wider: float = 1.0
    far: float = 0.0
    failing: float | None = None
    lasts_s: float = 3_600.0
    after_s: float = 6 * 3_600.0
    restarts: bool = False
    target_s: float | None = None
    end_target_s: float | None = None
    day_s: float = _DAY_S


def _lognormal(rng: np.random.Generator, count: int, sigma: float) -> Durations:
    return np.exp(rng.normal(0.0, sigma, count))


def _bimodal(rng: np.random.Generator, count: int, wider: float) -> Durations:
    """Three of ten calls take eight times as long; a change doubles their share."""
    slow = rng.random(count) < 0.3 * wider
    return np.where(slow, 8.0, 1.0) * _lognormal(rng, count, 0.3)


def _heavy(rng: np.random.Generator, count: int, wider: float) -> Durations:
    return _lognormal(rng, count, 1.5 * wider)


def _pareto(rng: np.random.Generator, count: int, _: float) -> Durations:
    return 1.0 + rng.pareto(1.3, count)


def _fast(rng: np.random.Generator, count: int, wider: float) -> Durations:
    """Steps of the clock, and now and then an interrupt."""
    steps = np.maximum(1.0, np.round(_lognormal(rng, count, 0.08 * wider) * 50)) / 50
    return steps + (rng.random(count) < 0.002) * rng.exponential(15.0, count)


class Source:
    """One series of *kind*: `take` draws the next stretch."""

    def __init__(self, kind: Kind, seed: int, change_s: float = math.inf) -> None:
        self.kind = kind
        self.now_s = 0.0
        self.change_s = change_s
        self._rng = np.random.default_rng(seed)
        self._wander = self._rng.normal(0.0, _WANDER_SD / math.sqrt(1 - _WANDER_KEPT**2))
        self._wander_s = 0.0
        self._phase = self._rng.random()
        self._burst_s = 0.0
        self._is_burst = False

    def take(self, length_s: float) -> Group:
        """The calls of the next *length_s* seconds."""
        start_s, end_s = self.now_s, self.now_s + length_s
        self.now_s = end_s
        over_s = self.change_s + self.kind.lasts_s
        cuts = [cut for cut in (self.change_s, over_s) if start_s < cut < end_s]
        histogram: dict[int, int] = {}
        count = errors = 0
        edges = [start_s, *cuts, end_s]
        for low, high in itertools.pairwise(edges):
            is_changed = self.change_s <= low < over_s
            durations = self._draw(low, high, is_changed=is_changed)
            share = self.kind.fails
            if is_changed and self.kind.failing is not None:
                share = self.kind.failing
            count += len(durations)
            errors += int(self._rng.binomial(len(durations), share))
            indexes = np.ceil(np.log2(durations) * _PER_OCTAVE).astype(int) - 1
            places, counts = np.unique(indexes, return_counts=True)
            for place, number in zip(places.tolist(), counts.tolist(), strict=True):
                histogram[place] = histogram.get(place, 0) + number
        return Group(count, errors, histogram, start_s, length_s)

    def _draw(self, low: float, high: float, *, is_changed: bool) -> Durations:
        kind, rng = self.kind, self._rng
        day = 2 * math.pi * (low / kind.day_s + self._phase)
        rate = kind.a_second * (1 + kind.rate_daily * math.sin(day)) * self._bursting(high)
        count = int(rng.poisson(max(0.0, rate * (high - low))))
        load, period_s = kind.load
        level = self._wandered(high) + kind.daily * math.sin(day)
        level += load * math.sin(2 * math.pi * (low / period_s + self._phase))
        wider, far = 1.0, 0.0
        if is_changed:
            wider, far = kind.wider, kind.far
            done = 1.0 if not kind.drift_s else min(1.0, (low - self.change_s) / kind.drift_s)
            level += math.log(kind.times) * done
        durations = kind.spread(rng, count, wider) * (kind.usual_s * math.exp(level))
        if far:
            durations = np.where(rng.random(count) < far, 20.0, 1.0) * durations
        return durations

    def _wandered(self, now_s: float) -> float:
        while self._wander_s + _WANDER_STEP_S <= now_s:
            self._wander_s += _WANDER_STEP_S
            self._wander = _WANDER_KEPT * self._wander + self._rng.normal(0.0, _WANDER_SD)
        return self._wander

    def _bursting(self, now_s: float) -> float:
        """How many times its rate a bursty tool has: five times it for a fifth of the time."""
        if not self.kind.bursts:
            return 1.0
        while self._burst_s <= now_s:
            self._is_burst = not self._is_burst
            self._burst_s += self._rng.exponential(120.0 if self._is_burst else 480.0)
        return 4.5 if self._is_burst else 0.125


QUIET: tuple[Kind, ...] = (
    Kind("plain, 10/s"),
    Kind("plain, 200/s", a_second=200.0),
    Kind("bimodal", spread=_bimodal),
    Kind("days: level ±25 %, rate ±60 %", daily=0.25, rate_daily=0.6),
    Kind("heavy tail, log-normal σ 1.5", spread=_heavy),
    Kind("heavy tail, Pareto 1.3", spread=_pareto),
    Kind("sparse, 0.2/s", a_second=0.2),
    Kind("sparse, 0.02/s", a_second=0.02),
    Kind("sparse with days", a_second=0.2, daily=0.25, rate_daily=0.6),
    Kind("bursts of calls", bursts=True),
    Kind("2 µs with the clock's noise", spread=_fast, usual_s=2e-6, a_second=100.0),
    Kind("machine's load ±15 % in 4 hours", load=(0.15, 14_400.0)),
    Kind("1 % errors", fails=0.01),
    Kind("20 % errors", fails=0.2),
)

_LEVEL = {"target_s": 60.0, "end_target_s": 180.0}

CHANGES: tuple[Kind, ...] = (
    Kind("level ×1.25", times=1.25, target_s=150.0, end_target_s=180.0),
    Kind("level ×1.5", times=1.5, target_s=150.0, end_target_s=180.0),
    Kind("level ×2", times=2.0, target_s=60.0, end_target_s=180.0),
    Kind("level ×2 five minutes after the start", times=2.0, after_s=300.0, target_s=60.0),
    Kind("level ×1.25 five minutes after the start", times=1.25, after_s=300.0, target_s=150.0),
    Kind("level ×2, 200/s", times=2.0, a_second=200.0, target_s=60.0, end_target_s=180.0),
    Kind("level ×2, bimodal", spread=_bimodal, times=2.0, target_s=60.0),
    Kind("level ×2, days", daily=0.25, rate_daily=0.6, times=2.0, target_s=60.0),
    Kind("level ×2, σ 1.5", spread=_heavy, times=2.0),
    Kind("level ×2, Pareto", spread=_pareto, times=2.0),
    Kind("level ×2, 2 µs", spread=_fast, usual_s=2e-6, a_second=100.0, times=2.0, target_s=60.0),
    Kind("level ×2, 0.2/s", a_second=0.2, times=2.0, lasts_s=4 * 3_600.0, after_s=_DAY_S),
    Kind("level ×2 after a restart", times=2.0, restarts=True, target_s=60.0),
    Kind("drift to ×2 in an hour", times=2.0, drift_s=3_600.0, lasts_s=7_200.0),
    Kind("spread ×2", wider=2.0),
    Kind("bimodal, 30 % slow to 60 %", spread=_bimodal, wider=2.0),
    Kind("3 % of calls ×20", far=0.03),
    Kind("5 % errors", failing=0.05, target_s=60.0, end_target_s=180.0),
    Kind("5 % errors, 1 % before", fails=0.01, failing=0.05),
    Kind("2 % errors for good", failing=0.02),
    Kind("30 % errors for a minute", failing=0.3, lasts_s=60.0, target_s=60.0),
    Kind("half of 0.2/s fails", a_second=0.2, failing=0.5, after_s=_DAY_S),
)
