"""
Whether one tool's durations are worse than usual: two levels and a rate of far slower calls.

    20 groups ──► learnt: Level of p50, Level of p95 (see `levels`)
                          Rate of calls beyond twice the usual p95, or the effect (see `rates`)
    a group ────► worse by any of the three ──► an alarm
                  calm in all, often enough ──► its end

Two quantiles since either alone misses what the other sees: p50 a wider spread, p95 what only the
fast half does. The rate of slow calls sees three calls of a hundred that take twenty times as long,
which move p95 by a quarter only. It never says so on one group alone.

An alarm ends after five calm groups, and after twice as many each time that it comes back within
the hour: what flaps is one alarm. The first groups' median is what is usual, so a cold start or a
wild second costs nothing.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Annotated, TypeAlias

import msgspec

from .alarm import CALM_GROUPS, OPEN_WEIGHT, Alarm, Reason, Verdict, What
from .levels import QUANTILES, Level, Seen, median, pace_of
from .rates import HALF, Rate
from .totals import SCALE

__all__ = ["Durations"]

_LEARN_GROUPS = 20
_MOST_CALM_GROUPS = 40
_AGAIN_S = 3_600.0
_PER_MILLE = 1_000
_NAMES: tuple[What, ...] = ("p50", "p95")
# So many buckets beyond its usual p95 a call is far slower than usual, if the effect is no more.
_FAR = 1 << SCALE

# Of a group while a tool is learnt: log2 of seconds and deviations of one call, in thousandths, and
# its calls as quarters of an octave. As bytes: 20,000 tools learnt at once took 100 MiB as lists.
_LESSON = struct.Struct("<5h")
_MOST_FIGURE = 0x7FFF
Finding: TypeAlias = tuple[What, float, float, float]


class Durations(msgspec.Struct, array_like=True):
    """What is known of one tool's durations; it is learnt while ``levels`` is empty."""

    lessons: Annotated[bytes, msgspec.Meta(max_length=_LEARN_GROUPS * _LESSON.size)] = b""
    levels: Annotated[list[Level], msgspec.Meta(max_length=len(QUANTILES))] = []
    slow: Rate = msgspec.field(default_factory=Rate)
    groups: int = 0
    alarm: Alarm | None = None
    # When the last alarm ended, and after how many calm groups.
    ended_s: float = 0.0
    needed: int = CALM_GROUPS

    @property
    def is_learning(self) -> bool:
        """Whether too little was seen to say what is usual."""
        return len(self.levels) < len(QUANTILES)

    @property
    def learnt(self) -> float:
        """Which share of what must be seen was seen; while it is learning."""
        return len(self.lessons) / (_LEARN_GROUPS * _LESSON.size)

    @property
    def is_sound(self) -> bool:
        """False for what no `look` can have left behind."""
        return (
            len(self.lessons) % _LESSON.size == 0
            and len(self.levels) in {0, len(QUANTILES)}
            and all(level.is_sound for level in self.levels)
            and self.slow.is_sound
            and self.groups >= 0
            and (self.alarm is None or self.alarm.is_sound)
            and math.isfinite(self.ended_s)
        )

    def look(
        self, seen: Seen, histogram: Mapping[int, int], at_s: float, effect: float
    ) -> Verdict | None:
        """Take in a group that ended *at_s*: what is *seen* of its *histogram*; mostly nothing."""
        self.groups += 1
        if self.is_learning:
            self._learn(seen)
            return None
        hits = self._slow_calls(histogram, effect)
        worse = self._worse(seen, hits, at_s - seen.length_s, effect)
        verdict: Verdict | None = None
        if self.alarm is not None:
            verdict = self._look_for_end(self.alarm, seen, hits, at_s, effect)
        elif worse is not None:
            what, since_s, usual, now = worse
            self.alarm = Alarm(what, since_s, at_s, needed=self._calm_groups(at_s))
            verdict = Verdict(self.alarm, True, "worse", at_s, usual, now, seen.calls)
        self._follow(seen, hits, effect)
        return verdict

    def end(self, at_s: float) -> Alarm | None:
        """End the alarm without a look; what it was."""
        alarm, self.alarm = self.alarm, None
        if alarm is not None:
            self.ended_s, self.needed = at_s, alarm.needed
            for level in self.levels:
                level.calm_down()
            self.slow.calm_down()
        return alarm

    def _learn(self, seen: Seen) -> None:
        spreads = [math.sqrt(chance * seen.calls) for chance in seen.chances]
        figures = [round(one * _PER_MILLE) for one in (*seen.values, *spreads)]
        figures.append(round(4 * math.log2(seen.calls)))
        self.lessons += _LESSON.pack(
            *(max(-_MOST_FIGURE, min(_MOST_FIGURE, figure)) for figure in figures)
        )
        if len(self.lessons) < _LEARN_GROUPS * _LESSON.size:
            return
        *columns, calls = zip(*_LESSON.iter_unpack(self.lessons), strict=True)
        figures_of = [[figure / _PER_MILLE for figure in column] for column in columns]
        half = len(QUANTILES)
        self.levels = [
            Level.learn(values, median(spreads) ** 2, 2 ** (median(calls) / 4))
            for values, spreads in zip(figures_of[:half], figures_of[half:], strict=True)
        ]
        self.lessons, self.groups = b"", 0

    def _worse(self, seen: Seen, hits: int, start_s: float, effect: float) -> Finding | None:
        """What has risen beyond doubt, since when, from what to what."""
        worse: list[Finding] = []
        risen: list[Finding] = []
        for level, what, value in self._each(seen):
            is_worse = level.add(value, seen.calls, effect, start_s)
            finding = what, level.since_s, 2**level.usual, 2**value
            if is_worse:
                worse.append(finding)
            elif level.calm(value, seen.calls, effect) < 0:
                risen.append(finding)
        if self.slow.add(seen.calls, hits, start_s, HALF):
            # A tool that is slower as a whole has more slow calls too: the whole says more.
            now = self.slow.now_hits / self.slow.now_calls
            worse += [*risen, ("slow calls", self.slow.since_s, self.slow.usual, now)]
        return worse[0] if worse else None

    def _look_for_end(
        self, alarm: Alarm, seen: Seen, hits: int, at_s: float, effect: float
    ) -> Verdict | None:
        is_new = alarm.last(seen.length_s)
        if not (self._is_over(alarm, seen, hits, effect) or is_new):
            return None
        reason: Reason = "new usual" if is_new else "usual again"
        usual, now = self._figures(alarm.what, seen, hits)
        self.end(at_s)
        if is_new:
            self.levels, self.slow = [], Rate()
        return Verdict(alarm, False, reason, at_s, usual, now, seen.calls)

    def _is_over(self, alarm: Alarm, seen: Seen, hits: int, effect: float) -> bool:
        calm = min(level.calm(value, seen.calls, effect) for level, _, value in self._each(seen))
        if self.slow.gain(seen.calls, hits) > 0:
            calm = min(calm, 0)
        has_recovered = self.slow.recover(seen.calls, hits)
        alarm.calm = 0 if calm < 0 else alarm.calm + calm
        if alarm.what == "slow calls":
            return calm > 0 and has_recovered
        return alarm.calm >= alarm.needed

    def _figures(self, what: What, seen: Seen, hits: int) -> tuple[float, float]:
        for level, name, value in self._each(seen):
            if name == what:
                return 2**level.usual, 2**value
        return self.slow.usual, hits / seen.calls

    def _follow(self, seen: Seen, hits: int, effect: float) -> None:
        if not self.levels:
            return
        is_open = self.alarm is not None
        pace = pace_of(seen.length_s, self.groups, is_alarm=is_open)
        for place, level in enumerate(self.levels):
            level.follow(seen, place, effect, pace)
        self.slow.follow(seen.calls, hits, seen.length_s, OPEN_WEIGHT if is_open else 1.0)

    def _each(self, seen: Seen) -> Iterator[tuple[Level, What, float]]:
        return zip(self.levels, _NAMES, seen.values, strict=True)

    def _slow_calls(self, histogram: Mapping[int, int], effect: float) -> int:
        far = max(_FAR, math.ceil(effect * (1 << SCALE)))
        least = math.ceil(self.levels[-1].usual * (1 << SCALE)) + far
        return sum(count for index, count in histogram.items() if index >= least)

    def _calm_groups(self, at_s: float) -> int:
        """Those that end an alarm which begins at *at_s*."""
        if self.ended_s and at_s - self.ended_s < _AGAIN_S:
            return min(_MOST_CALM_GROUPS, 2 * self.needed)
        return CALM_GROUPS
