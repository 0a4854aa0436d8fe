"""
Whether a tool's durations have risen for good: change points of its p50 and p95 on a log scale.

    group ──► Seen: log2 of p50 and p95, and how sure each is ──► Level (one for each): a CUSUM

    rise = log2(quantile) - usual                 an octave is 1.0, +25 % is 0.32
    sd   = √(variance + what so few calls vary)   between groups, and inside this one
    sum  = max(0, sum + clip((rise - effect/2) / sd - 1/2, ±4))
    worse when sum > 5 and rise > max(effect, 2.5 sd)

The scheme is Page's cumulative sum (E. S. Page, Continuous Inspection Schemes, Biometrika 1954)
with a slack of half the effect that counts and half a deviation. A group adds 4 at most, so one
wild group alone is never an alarm. *sd* is of two parts: what a level wanders from group to group
on a living machine is learnt; what the number of calls lets a quantile vary is in the group itself,
from the binomial order statistics (the quantile at q ± √(q(1-q)/n)). So groups of 50 calls and of
50,000 are judged by one rule, and what was learnt from short groups holds for long ones.

What is usual follows what is seen with a time constant of 50 minutes, clipped, so that days and
slow machines are usual and steps are not; ten times as fast where calls got faster. Why not a
comparison with the same hour of other days: it needs weeks before it says anything.

Why logarithms: durations multiply; and the histogram's buckets are equal there.
Why not the distance of whole distributions (Kolmogorov-Smirnov, decayed histograms), tried first:
6.5 false alarms a day on heavy tails. Why not z-scores: drift and rare tails were missed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec

from .totals import SCALE

__all__ = ["QUANTILES", "Level", "Seen", "median", "observe", "share_of"]

QUANTILES = (0.50, 0.95)

_PER_OCTAVE = 1 << SCALE
# Deviations: what a group may add, what must be reached, and what goes off each time.
_CLIP, _ENOUGH, _SLACK = 4.0, 5.0, 0.5
_BEYOND = 3.0
_STEP, _CREPT, _HOLD, _CALM, _RECENT_SHARE = 0.8, 1.5, 0.5, 0.66, 0.5
_HELD_WEIGHT = 0.2
_TIME_CONSTANT_S = 3_000.0
_MOST_SHARE = 0.1
_FASTER = 10
# Log2: no machine keeps a level better than 1.4 % from minute to minute, and few seconds of a
# tool's life say nothing of how much it wanders, so 4 % is taken as given at first.
_LEAST_SD, _FIRST_SD = 0.02, 0.06
_FIRST_GROUPS = 5
# Groups are mostly closed at about so many calls while a tool is learnt.
_LEARN_CALLS = 100


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
    def learn(cls, values: Sequence[float], chance: float) -> Level:
        """From the first groups: their median, and what they vary beyond *chance* of a call."""
        usual = median(values)
        deviation = 1.4826 * median([abs(value - usual) for value in values])
        variance = max(_FIRST_SD**2, deviation**2 - chance / _LEARN_CALLS)
        return cls(usual, variance, chance, usual)

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
        is_step = min(rise, jump) > _STEP * needed
        return self.sum > _ENOUGH and (is_step or rise > _CREPT * needed)

    def calm(self, value: float, calls: int, effect: float) -> int:
        """1 when *value* is as usual again, -1 when it is not, 0 in between."""
        rise, needed = value - self.usual, self.needed(calls, effect)
        return 1 if rise <= _CALM * needed else -1 if rise > needed else 0

    def follow(
        self, seen: Seen, place: int, effect: float, share: float, *, is_alarm: bool
    ) -> None:
        """Let what is usual follow a group by *share* of the way (see `share_of`)."""
        value, chance, calls = seen.values[place], seen.chances[place], seen.calls
        rise, sd = value - self.usual, self.deviation(calls)
        if rise < -max(effect / 2, 2 * sd):
            self.usual += min(0.5, share * _FASTER) * rise
            return
        weight = _HELD_WEIGHT if self.is_held else 1.0
        self.usual += weight * share * min(rise, 2 * sd)
        if is_alarm:
            return
        beyond = min(rise * rise, 4 * sd * sd) - sd * sd
        self.variance = max(_LEAST_SD**2, self.variance + share * beyond)
        self.chance += share * (min(chance * calls, 4 * self.chance) - self.chance)

    def calm_down(self) -> None:
        """Forget the evidence."""
        self.sum, self.is_held = 0.0, False


def share_of(length_s: float, groups: int) -> float:
    """How much of the way what is usual goes with one group; the first *groups* after it more."""
    share = min(_MOST_SHARE, -math.expm1(-length_s / _TIME_CONSTANT_S))
    return max(share, 1 / (_FIRST_GROUPS + groups)) if groups < 100 else share


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
