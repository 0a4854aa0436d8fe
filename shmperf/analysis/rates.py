"""
Whether a share of a tool's calls has risen: failed ones, and ones far slower than usual.

A cumulative sum of the log likelihood ratio of single calls (Bernoulli CUSUM: M. R. Reynolds and
Z. G. Stoumbos, A CUSUM Chart for Monitoring a Proportion, 1999): of *n* calls *k* are hits,

    p0 = what is usual      p1 = max(3 p0, p0 + 2 %)
    gain = k ln(p1/p0) + (n - k) ln((1-p1)/(1-p0))
    sum  = max(0, sum + gain)          an alarm: sum > 10, and 5 hits at least since it was zero
    back = max(0, back + clip(-gain, ±3))             during an alarm; its end: back > 10

The gain is exact for any number of calls, so a group may be as small as it likes: a tool that is
called rarely is judged by the same rule, only later. The end needs four groups at least, since what
stops for a minute mostly comes back.

What is usual is counted with a time constant of 50 minutes or 1,000 calls, whichever is longer, and
taken one standard error high: few calls have been lucky as often as not. Why not burn rates (14.4
times a budget over an hour and 5 minutes): they find a burst when the hour is over.
"""

from __future__ import annotations

import math

import msgspec

__all__ = ["HALF", "Rate"]

_TIMES, _MORE = 3.0, 0.02
_ENOUGH, _LEAST_HITS = 14.0, 5
# So much that two groups are needed.
HALF = 0.6 * _ENOUGH
_BACK_ENOUGH, _BACK_CLIP = 10.0, 3.0
_LEARN_CALLS = 200.0
_TIME_CONSTANT_S, _MOST_CALLS = 3_000.0, 1_000.0
_LEAST, _MOST = 0.001, 0.97
# From that share on there is nothing left that could become worse.
_HOPELESS = 0.8
# Given before anything was seen: one hit in so many calls.
_PRIOR_CALLS = 100.0


class Rate(msgspec.Struct, array_like=True):
    """
    What is usual of one share, as decayed counts, and the evidence that it is no longer so.

    ``since_s`` is when the evidence began; ``now_hits`` of ``now_calls`` is the share since then.
    """

    hits: float = 0.0
    calls: float = 0.0
    sum: float = 0.0
    back: float = 0.0
    since_s: float = 0.0
    now_hits: int = 0
    now_calls: int = 0

    @property
    def is_learning(self) -> bool:
        """Whether too few calls were seen to say what is usual."""
        return self.calls < _LEARN_CALLS

    @property
    def usual(self) -> float:
        """The share that is usual, a standard error high."""
        high = (self.hits + 1 + math.sqrt(self.hits + 1)) / (self.calls + _PRIOR_CALLS)
        # The prior is made for shares that are low; it makes nothing of a tool that always fails.
        seen = self.hits / self.calls if self.calls else 0.0
        return min(_MOST, max(_LEAST, high, seen))

    @property
    def is_sound(self) -> bool:
        """False for what no look can have left behind."""
        figures = (self.hits, self.calls, self.sum, self.back, self.since_s)
        return all(0 <= figure < math.inf for figure in figures) and self.now_calls >= 0

    def gain(self, calls: int, hits: int) -> float:
        """How much likelier *hits* of *calls* are at the higher share than at the usual one."""
        low = self.usual
        high = min(max(_TIMES * low, low + _MORE), (1 + low) / 2)
        return hits * math.log(high / low) + (calls - hits) * math.log((1 - high) / (1 - low))

    def add(self, calls: int, hits: int, start_s: float, most: float = _ENOUGH * 2) -> bool:
        """
        Take in *hits* of *calls*; True when the share is higher than usual beyond doubt.

        A group adds *most* at most: with `HALF` it needs a second one.
        """
        if self.is_learning or self.usual >= _HOPELESS:
            return False
        if not self.sum:
            self.since_s, self.now_hits, self.now_calls = start_s, 0, 0
        self.now_hits += hits
        self.now_calls += calls
        self.sum = min(2 * _ENOUGH, max(0.0, self.sum + min(most, self.gain(calls, hits))))
        return self.sum > _ENOUGH and self.now_hits >= _LEAST_HITS

    def recover(self, calls: int, hits: int) -> bool:
        """Take in a group of an alarm; True when the share is as usual again."""
        gain = self.gain(calls, hits)
        self.back = max(0.0, self.back + max(-_BACK_CLIP, min(_BACK_CLIP, -gain)))
        return self.back > _BACK_ENOUGH

    def follow(self, calls: int, hits: int, length_s: float, weight: float) -> None:
        """Let what is usual follow, by *weight* of what was seen."""
        gone = min(-math.expm1(-length_s / _TIME_CONSTANT_S), calls / _MOST_CALLS)
        left = 1 - min(1.0, gone) * weight
        self.hits = self.hits * left + hits * weight
        self.calls = self.calls * left + calls * weight

    def calm_down(self) -> None:
        """Forget the evidence."""
        self.sum = self.back = 0.0
