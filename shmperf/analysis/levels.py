"""
Whether a tool's durations have risen for good: change points of its p50 and p95 on a log scale.

    group ──► Seen: log2 of p50 and p95, and how sure each is ──► Level (one for each): a CUSUM

    rise   = log2(quantile) - usual                 an octave is 1.0, 25 % more is 0.32
    jump   = log2(quantile) - recent                recent: the last minutes, held while it is high
    sd     = √(variance + chance / calls)           between groups, and inside a group
    sum    = max(0, sum + clip((rise - effect/2) / sd - 1/2, ±5))
    needed = max(effect, 3.2 sd)

    worse:  sum > 6, and rise and jump > 3/4 needed     a step
            sum > 6, and rise > 1.4 needed              a drift
    calm:   rise <= 2/3 needed

The scheme is Page's cumulative sum (E. S. Page, Continuous Inspection Schemes, Biometrika 1954)
with a slack of half the effect that counts and half a deviation. A group adds 5 at most, so one
wild group alone is never an alarm.

*sd* is of two parts: what a level wanders from group to group on a living machine, and what a
quantile of so few calls varies by chance, from the binomial order statistics (the quantile at
q ± √(q(1-q)/n)). So groups of 50 calls and of 50,000 are judged by one rule, and what was learnt
from a second's groups holds for longer ones. Both are learnt: the chance that one group shows of
itself is small when it is lucky, and lucky groups would be alarms (four times as many on heavy
tails).

Why *jump*: a machine's level creeps up and down by a quarter a few times a day, and is not worth an
alarm for it; what changes comes at once. Without it there were twice as many false alarms on plain
series, and five times as many under loads that come and go.

What is usual follows what is seen with a time constant of 50 minutes, each group clipped at two
deviations, so that days and slow machines are usual and steps are not; a fifth of that while a step
is doubted or told, ten times as fast where calls got faster. What is just being doubted is seen by
the variance all the same: left out, the variance shrank until everything was doubted. Why not a
comparison with the same hour of other days: it needs weeks before it says anything.

Why logarithms: durations multiply, and the histogram's buckets are equal there.
Why not the distance of whole distributions (Kolmogorov-Smirnov, decayed histograms), tried first:
6.5 false alarms a day on heavy tails. Why not z-scores: drift and rare tails were missed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from .alarm import OPEN_WEIGHT
from .totals import SCALE

__all__ = ["QUANTILES", "Level", "Seen", "median", "observe", "pace_of"]

QUANTILES = (0.50, 0.95)

_PER_OCTAVE = 1 << SCALE
# Log2 of seconds, beyond any bucket.
_MOST_OCTAVES = 64
# Deviations: what a group may add, what must be reached, what goes off each time, what is unusual.
_CLIP, _ENOUGH, _SLACK, _BEYOND = 5.0, 6.0, 0.5, 3.2
# A step may measure shorter than it is by a fourth of this, log2: of an effect of 1.25.
_MEASURED = math.log2(1.25)
# Parts of what is needed: for a step, for a drift, to hold what is recent, to be calm.
_STEP, _DRIFT, _HOLD, _CALM = 0.75, 1.4, 0.5, 2 / 3
# A group pulls what is recent half the way: two or three groups are the last minutes.
_RECENT_SHARE = 0.5
_TIME_CONSTANT_S, _MOST_SHARE = 3_000.0, 0.1
_FASTER = 10
# How much a group counts for what is usual, while a step is doubted and while anything is.
_HELD_WEIGHT, _DOUBTED_WEIGHT = 0.2, 0.5
# Log2: no machine keeps a level better than 1.4 % from minute to minute, and the few seconds in
# which a busy tool is learnt say nothing of how much it wanders: 3.5 % is taken as given at first.
_LEAST_SD, _FIRST_SD = 0.02, 0.05
# The first group after these counts an eighth, the next a ninth, until the long run is reached.
_FIRST_GROUPS = 8


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A group's durations: log2 of seconds at each quantile, and its variance by chance alone."""

    calls: int
    length_s: float
    values: tuple[float, ...]
    chances: tuple[float, ...]


def observe(histogram: Mapping[int, int], length_s: float) -> Seen | None:
    """What *histogram* (see `totals`) says; None when it holds no call."""
    places = sorted(index for index, count in histogram.items() if count > 0)
    if not places:
        return None
    sums = list(accumulate(histogram[index] for index in places))
    calls = sums[-1]

    def at(q: float) -> float:
        rank = q * calls
        place = min(bisect_left(sums, rank), len(sums) - 1)
        inside = histogram[places[place]]
        return (places[place] + 1 - (sums[place] - rank) / inside) / _PER_OCTAVE

    values, chances = [], []
    for q in QUANTILES:
        values.append(at(q))
        off = math.sqrt(q * (1 - q) / calls)
        chances.append(((at(min(1.0, q + off)) - at(max(0.0, q - off))) / 2) ** 2)
    return Seen(calls, length_s, tuple(values), tuple(chances))


class Pace(NamedTuple):
    """
    How much of the way what is usual goes with one group, and how much in the long run.

    A tool that was learnt in seconds has much to learn still, so its first groups are worth more.
    """

    share: float
    steady: float
    is_alarm: bool


class Level(msgspec.Struct, array_like=True):
    """
    What is usual of one quantile, log2 of seconds, and the evidence that it is no longer so.

    ``chance`` is the variance that one call would have; ``recent`` is the level of the last
    minutes, held while there is evidence; ``since_s`` is when that began, the likeliest time of a
    change.
    """

    usual: float
    variance: float
    chance: float
    recent: float
    sum: float = 0.0
    since_s: float = 0.0
    is_held: bool = False

    @classmethod
    def learn(cls, values: Sequence[float], chance: float, calls: float) -> Level:
        """From groups of so many *calls*: their median, and what they vary beyond *chance*."""
        usual = median(values)
        deviation = 1.4826 * median([abs(value - usual) for value in values])
        variance = max(_FIRST_SD**2, deviation**2 - chance / calls)
        return cls(usual, variance, chance, usual)

    @property
    def is_sound(self) -> bool:
        """False for what no group can have left behind."""
        amounts = (self.variance, self.chance, self.sum, self.since_s)
        return (
            all(abs(level) <= _MOST_OCTAVES for level in (self.usual, self.recent))
            and all(0 <= amount < math.inf for amount in amounts)
            and self.variance > 0
        )

    def deviation(self, calls: int) -> float:
        """What the level of a group of so many *calls* varies."""
        return math.sqrt(self.variance + self.chance / calls)

    def needed(self, calls: int, effect: float) -> float:
        """How far a group of so many *calls* must rise to be unusual."""
        return max(effect, _BEYOND * self.deviation(calls))

    def add(self, value: float, calls: int, effect: float, start_s: float) -> bool:
        """Take in a group's *value*; True when the level is higher than usual beyond doubt."""
        rise, jump = value - self.usual, value - self.recent
        if not self.sum:
            self.since_s = start_s
        step = max(-_CLIP, min(_CLIP, (rise - effect / 2) / self.deviation(calls) - _SLACK))
        self.sum = min(2 * _ENOUGH, max(0.0, self.sum + step))
        needed = self.needed(calls, effect)
        self.is_held = self.sum > 0 and jump > _HOLD * needed
        if not self.is_held:
            self.recent += _RECENT_SHARE * jump
        # Not of all that is needed: who wants to be told of ten times is not told of six.
        short = min(needed, max(_MEASURED, _BEYOND * self.deviation(calls)))
        is_step = min(rise, jump) > needed - (1 - _STEP) * short
        return self.sum > _ENOUGH and (is_step or rise > _DRIFT * needed)

    def calm(self, value: float, calls: int, effect: float) -> int:
        """1 when *value* is as usual again, -1 when it is not, 0 in between."""
        rise, needed = value - self.usual, self.needed(calls, effect)
        return 1 if rise <= _CALM * needed else -1 if rise > needed else 0

    def follow(self, seen: Seen, place: int, effect: float, pace: Pace) -> None:
        """Let what is usual follow the group *seen*, of which this is the quantile at *place*."""
        value, chance, calls = seen.values[place], seen.chances[place], seen.calls
        rise, sd = value - self.usual, self.deviation(calls)
        if rise < -max(effect / 2, 2 * sd):
            self.usual += min(0.5, pace.share * _FASTER) * rise
            return
        # What is just being doubted teaches little, however young the tool.
        share = pace.steady if self.is_held else pace.share
        weight = _HELD_WEIGHT if self.is_held else _DOUBTED_WEIGHT if self.sum else 1.0
        self.usual += weight * share * min(rise, 2 * sd)
        if pace.is_alarm:
            return
        beyond = min(rise * rise, 4 * sd * sd) - sd * sd
        self.variance = max(_LEAST_SD**2, self.variance + share * beyond)
        self.chance += share * (min(chance * calls, 4 * self.chance) - self.chance)

    def calm_down(self) -> None:
        """Forget the evidence."""
        self.sum, self.is_held = 0.0, False


def pace_of(length_s: float, groups: int, *, is_alarm: bool) -> Pace:
    """The pace at a group of *length_s*, so many *groups* after the tool was learnt."""
    steady = min(_MOST_SHARE, -math.expm1(-length_s / _TIME_CONSTANT_S))
    if is_alarm:
        return Pace(steady * OPEN_WEIGHT, steady * OPEN_WEIGHT, is_alarm)
    return Pace(max(steady, 1 / (_FIRST_GROUPS + groups)), steady, is_alarm)


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
