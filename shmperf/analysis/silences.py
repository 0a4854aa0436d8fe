"""
Who has fallen silent: a tool that was called all the time, and is called no more.

    called in this interval? ─► marks, gaps ─► steady? ─► silent for longer than its limit ─► told
                                                    └─► called again ─► over, the pause remembered

A tool is *steady* when calls of it ended in at least four of five intervals, over 40 of them, and
since. Its limit is five times its longest gap in the last 40 to 80, for a gap of that length is
chance no more; ten intervals at least, for so long a pause of all that a machine does is usual;
and half as long again as the longest pause it ever made, which fades by half a week: who stops
every night is told of once. A tool that is called now and then, or less and less, is never silent.

One trouble is one alert: what stopped with another tool that is told of is named there. Time that
nobody watched, and time without a worker that has the tool, are no silence.

Pure, one thread; bounded in bytes a tool and in tools, the longest silent go first. What a killed
collector loses is up to 40 marks a tool, and after a restart each limit begins anew.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple, TypeAlias

import msgspec

__all__ = ["Rhythm", "Silences", "Silent", "callers_first"]

Standing: TypeAlias = Literal["called", "told", "explained", "away"]

# Ten minutes of usual intervals would make each batch of some length a steady tool: 20 are learnt.
_MARKS = 40
_STEADY_SHARE = 0.8
_GAPS, _LEAST_INTERVALS, _PAUSES = 5.0, 10.0, 1.5
_HALF_LIFE_S = 7 * 86_400.0
# What stopped so many intervals apart stopped together: one more than a look may be off.
_TOGETHER = 2.0
_MOST_TOOLS = 20_000


class Rhythm(msgspec.Struct, array_like=True):
    """
    How a tool is called; ``seen_s`` is the end of its last interval with calls, Unix seconds.

    ``marks`` such intervals since ``began_s``, and the longest gap between them; ``former_s`` is
    that of the 40 before, 0 while those were not steady. ``pause_s`` is the longest pause.
    """

    standing: Standing
    seen_s: float
    began_s: float
    marks: int = 0
    longest_s: float = 0.0
    former_s: float = 0.0
    pause_s: float = 0.0

    @property
    def is_sound(self) -> bool:
        """False for what no look can have left behind: it was read from a damaged file."""
        times = self.seen_s, self.began_s, self.longest_s, self.former_s, self.pause_s
        return all(math.isfinite(time) and time >= 0 for time in times)

    def is_steady(self, interval_s: float) -> bool:
        """True when there were calls in most intervals, so far and before."""
        return self.former_s > 0 and self._is_dense(interval_s)

    def limit_s(self, interval_s: float) -> float:
        """So long a silence is none of its usual ones."""
        usual_s = max(self.longest_s, self.former_s)
        return max(_GAPS * usual_s, _LEAST_INTERVALS * interval_s, _PAUSES * self.pause_s)

    def mark(self, now_s: float, interval_s: float, *, is_watched: bool) -> bool:
        """Calls of it ended in the interval before *now_s*; True when its 40 are full."""
        gap_s = max(0.0, now_s - self.seen_s)
        if self.standing != "called" or not is_watched:
            self.begin_anew(now_s)
        else:
            self.longest_s = max(self.longest_s, gap_s)
        if is_watched and self.standing != "away":
            self.remember(gap_s)
        self.standing, self.seen_s = "called", now_s
        self.marks += 1
        if self.marks < _MARKS:
            return False
        self.former_s = self.longest_s if self._is_dense(interval_s) else 0.0
        self.marks, self.began_s, self.longest_s = 0, now_s, 0.0
        return True

    def begin_anew(self, now_s: float) -> None:
        """The gap before *now_s* is no usual one."""
        self.marks, self.began_s, self.longest_s = 0, now_s, 0.0

    def remember(self, gap_s: float) -> None:
        """It made a pause of *gap_s*."""
        self.pause_s = max(gap_s, self.pause_s * 0.5 ** (gap_s / _HALF_LIFE_S))

    def _is_dense(self, interval_s: float) -> bool:
        # An interval ends up to a second late.
        intervals = (self.seen_s - self.began_s) / (interval_s + 1.0)
        return self.marks >= _STEADY_SHARE * intervals


class Silent(NamedTuple):
    """A tool that is silent since *since_s*, though never for longer than *limit_s* before."""

    tool: str
    since_s: float
    usual_s: float
    limit_s: float


class Silences:
    """The rhythm of all tools; its delta and state are those of an analysis (see `table`)."""

    def __init__(self) -> None:
        self.tools: dict[str, Rhythm] = {}
        self._changed: dict[str, Rhythm | None] = {}
        # Nobody watched before.
        self._watched_s = math.inf

    def resume(self, now_s: float) -> None:
        """Nobody has watched until now."""
        self._watched_s = now_s

    def add(self, called: Iterable[str], now_s: float, interval_s: float) -> list[str]:
        """Calls of these tools have ended since the last look; those of them that were told of."""
        over = []
        for tool in called:
            rhythm = self.tools.pop(tool, None)
            if rhythm is None:
                rhythm = Rhythm("called", now_s, now_s)
                self._make_room()
            if rhythm.standing == "told":
                over.append(tool)
            was_called = rhythm.standing == "called"
            is_watched = rhythm.seen_s >= self._watched_s
            is_full = rhythm.mark(now_s, interval_s, is_watched=is_watched)
            # Behind all others: the first is the one that has been silent for longest.
            self.tools[tool] = rhythm
            if is_full or not was_called:
                self._changed[tool] = rhythm
        return over

    def silent(self, now_s: float, interval_s: float) -> list[Silent]:
        """The tools that are silent for too long, and nothing was made of it yet."""
        found = []
        for tool, rhythm in self.tools.items():
            since_s = max(rhythm.seen_s, self._watched_s)
            passed_s = now_s - since_s
            if passed_s < _LEAST_INTERVALS * interval_s or rhythm.standing != "called":
                continue
            limit_s = rhythm.limit_s(interval_s)
            if passed_s > limit_s and rhythm.is_steady(interval_s):
                usual_s = max(rhythm.longest_s, rhythm.former_s)
                found.append(Silent(tool, since_s, usual_s, limit_s))
        return found

    def told(self) -> list[str]:
        """The tools that are told of."""
        return [tool for tool, rhythm in self.tools.items() if rhythm.standing == "told"]

    def settle(self, tool: str, standing: Standing) -> None:
        """That is made of *tool*'s silence."""
        self.tools[tool].standing = standing
        self._changed[tool] = self.tools[tool]

    def causes(self) -> list[tuple[float, str]]:
        """The tools that are told of, by when they stopped."""
        return sorted((self.tools[tool].seen_s, tool) for tool in self.told())

    def cause(self, tool: str, causes: list[tuple[float, str]], interval_s: float) -> str | None:
        """The one of *causes* that stopped with *tool*."""
        seen_s, apart_s = self.tools[tool].seen_s, _TOGETHER * (interval_s + 1.0)
        place = bisect_left(causes, (seen_s - apart_s, ""))
        if place < len(causes) and causes[place][0] <= seen_s + apart_s:
            return causes[place][1]
        return None

    def release(self, now_s: float, interval_s: float) -> None:
        """Who was silent with a tool that is called again has its limit anew."""
        causes = self.causes()
        for tool, rhythm in self.tools.items():
            if rhythm.standing != "explained" or self.cause(tool, causes, interval_s):
                continue
            rhythm.remember(now_s - rhythm.seen_s)
            rhythm.begin_anew(now_s)
            rhythm.seen_s = now_s
            self.settle(tool, "called")

    def begin_all_anew(self) -> None:
        """Nobody is told of any silence any more: who goes on being silent is told of again."""
        for tool, rhythm in self.tools.items():
            if rhythm.standing in ("told", "explained"):
                self.settle(tool, "called")

    def take_delta(self) -> dict[str, Rhythm | None] | None:
        """The tools of which something has changed that a restart must know; None: forgotten."""
        delta, self._changed = self._changed, {}
        return delta or None

    def apply(self, delta: dict[str, Rhythm | None]) -> None:
        """Take over *delta*."""
        for tool, rhythm in delta.items():
            self.tools.pop(tool, None)
            if rhythm is not None and rhythm.is_sound:
                self._make_room()
                self.tools[tool] = rhythm

    def clear(self) -> None:
        """Forget everything."""
        self.tools, self._changed = {}, {}

    def state(self) -> dict[str, Rhythm]:
        """All that is known."""
        return self.tools

    @classmethod
    def restore(cls, state: dict[str, Rhythm]) -> Silences:
        """What was known before; nothing of it is told again."""
        found = cls()
        found.apply({**state})
        return found

    def _make_room(self) -> None:
        if len(self.tools) >= _MOST_TOOLS:
            tool = next(iter(self.tools))
            del self.tools[tool]
            self._changed[tool] = None


def callers_first(found: Collection[Silent], called: Collection[str]) -> list[Silent]:
    """*found*, those first that are not *called* by another of them."""
    return sorted(found, key=lambda one: (one.tool in called, one.since_s, one.tool))
