"""
What turned bad: per tool, when durations or errors left what is usual, and when they came back.

    pieces of any length ──► a group ──► `durations` ──► a change of kind latency
    (histogram, errors)                  `errorrate` ──► a change of kind errors

A group of durations is closed at 50 calls and the interval's end, so rare tools merge intervals;
while a tool is learnt, at 50 calls and a second, so that a busy one is known after 20 seconds.
Errors are looked at whenever an interval ends, however few the calls.

One alarm a tool and kind at a time. It ends when what is seen is as usual again; when the new level
has lasted a day, for then it is what is usual; and when nobody has called the tool for an hour.
Faster is no alarm.

Pure, one thread. State is bounded in bytes a tool and in tools, the longest silent go first. What
a killed collector loses is what was learnt since the last delta, and the open groups: fewer than
ten groups of learning, never the begin or the end of an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from .alarm import Reason, Verdict, What
from .durations import Durations
from .errorrate import ErrorRate
from .levels import observe

__all__ = ["Change", "Changes", "Group", "Watched"]

Kind: TypeAlias = Literal["latency", "errors"]

_LEAST_CALLS, _QUICK_S = 50, 1.0
# Whoever looks may come a little earlier than the last time: that is an interval, too.
_NEARLY = 0.9
_SILENT_S = 3_600.0
_TOLD_EVERY = 10
_MOST_TOOLS = 20_000
# What histograms, counts and times from elsewhere are held to.
_LOWEST, _HIGHEST = -480, 530
_MOST_COUNT = 1 << 53
_LONGEST_S = 86_400.0


class Group(msgspec.Struct, frozen=True, gc=False):
    """
    Calls of a tool that ended in a stretch of time; times are Unix seconds.

    ``histogram`` counts those whose duration is known, by bucket (see `totals`).
    """

    count: int
    errors: int
    histogram: Mapping[int, int]
    start_s: float
    length_s: float


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """
    A tool turned bad, or is bad no longer.

    ``since_s`` is when it likely began, ``at_s`` when it was noticed; ``usual`` and ``now`` are
    seconds for p50 and p95, shares of calls for the other two. ``calls`` are those that told.
    """

    tool: str
    kind: Kind
    is_begin: bool
    reason: Reason
    what: What
    since_s: float
    at_s: float
    usual: float
    now: float
    calls: int


class Watched(msgspec.Struct, array_like=True):
    """What is known of one tool; ``seen_s`` is the end of its last group with calls."""

    durations: Durations = msgspec.field(default_factory=Durations)
    errors: ErrorRate = msgspec.field(default_factory=ErrorRate)
    seen_s: float = 0.0

    @property
    def is_sound(self) -> bool:
        """False for what no look can have left behind: it was read from a damaged file."""
        alarm = self.errors.alarm
        return (
            self.durations.is_sound
            and self.errors.rate.is_sound
            and (alarm is None or alarm.is_sound)
            and math.isfinite(self.seen_s)
        )


class _Open:
    """A tool's groups that are not closed yet."""

    __slots__ = ("calls", "errors", "histogram", "histogram_s", "length_s", "recorded", "start_s")

    def __init__(self) -> None:
        self.histogram: dict[int, int] = {}
        self.recorded = 0
        self.histogram_s = 0.0
        self.calls = self.errors = 0
        self.length_s = self.start_s = 0.0

    def add(self, group: Group) -> None:
        for index, count in group.histogram.items():
            if count > 0 and _LOWEST <= index <= _HIGHEST:
                bounded = min(count, _MOST_COUNT)
                self.histogram[index] = self.histogram.get(index, 0) + bounded
                self.recorded += bounded
        length_s = _within(group.length_s, 0.0, _LONGEST_S)
        if not self.length_s:
            self.start_s = _within(group.start_s, 0.0, math.inf)
        self.histogram_s += length_s
        self.length_s += length_s
        self.calls += min(max(0, group.count), _MOST_COUNT)
        self.errors = min(self.calls, self.errors + max(0, group.errors))

    def forget_histogram(self) -> None:
        self.histogram, self.recorded, self.histogram_s = {}, 0, 0.0

    def forget_counts(self) -> None:
        self.calls = self.errors = 0
        self.length_s = 0.0


class Changes:
    """The detectors of all tools; its delta and state are those of an analysis (see `table`)."""

    def __init__(self, interval_s: float = 30.0, effect: float = 1.25) -> None:
        self.tools: dict[str, Watched] = {}
        self._open: dict[str, _Open] = {}
        self._changed: dict[str, Watched | None] = {}
        self.configure(interval_s, effect)

    def configure(self, interval_s: float, effect: float) -> None:
        """From now on look every *interval_s*; *effect* times slower is worth an alarm."""
        self._interval_s = interval_s
        self._effect = math.log2(effect)

    def add(self, tool: str, group: Group) -> list[Change]:
        """
        Take in *group*, of any length; what it changes, mostly nothing.

        Groups of a tool follow each other; a second each while it `is_learning`, or the interval.
        """
        found: list[Change] = []
        watched = self.tools.pop(tool, None)
        if watched is None:
            if len(self.tools) >= _MOST_TOOLS:
                found += self._forget(next(iter(self.tools)))
            watched = Watched()
        # Behind all others: the first is the one that has been silent for longest.
        self.tools[tool] = watched
        open_ = self._open.setdefault(tool, _Open())
        open_.add(group)
        found += self._close(tool, watched, open_)
        return found

    def expire(self, now_s: float) -> list[Change]:
        """End the alarms of tools that nobody has called for an hour."""
        return [
            change
            for tool, watched in self.tools.items()
            if now_s - watched.seen_s > _SILENT_S
            for change in self._end(tool, watched, "no calls", now_s)
        ]

    def end_all(self, at_s: float) -> None:
        """End all alarms: nobody watches any more. What is usual stays known."""
        for tool, watched in self.tools.items():
            self._end(tool, watched, "forgotten", at_s)

    def is_learning(self, tool: str) -> bool:
        """Whether too little is known of *tool* to tell what is usual."""
        watched = self.tools.get(tool)
        return watched is None or watched.durations.is_learning

    def learning(self) -> dict[str, float]:
        """The tools that are learnt now, and which share of it is done."""
        return {
            tool: watched.durations.learnt
            for tool, watched in self.tools.items()
            if watched.durations.is_learning
        }

    def _close(self, tool: str, watched: Watched, open_: _Open) -> Iterator[Change]:
        has_calls = open_.recorded >= _LEAST_CALLS
        is_over = open_.length_s >= _NEARLY * self._interval_s
        is_quick = watched.durations.is_learning and open_.histogram_s >= _QUICK_S
        if not (is_over or (is_quick and has_calls)):
            return
        at_s = open_.start_s + open_.length_s
        if open_.calls:
            watched.seen_s = at_s
            verdict = watched.errors.look(open_.calls, open_.errors, open_.start_s, at_s)
            if verdict is not None:
                yield self._told(tool, verdict)
        if has_calls:
            verdict = self._look_at_durations(watched, open_, at_s)
            if verdict is not None:
                yield self._told(tool, verdict)
            if watched.durations.groups % _TOLD_EVERY == 0:
                self._changed[tool] = watched
            open_.forget_histogram()
        open_.forget_counts()

    def _look_at_durations(self, watched: Watched, open_: _Open, at_s: float) -> Verdict | None:
        seen = observe(open_.histogram, open_.histogram_s)
        if seen is None:
            return None
        return watched.durations.look(seen, open_.histogram, at_s, self._effect)

    def _told(self, tool: str, verdict: Verdict) -> Change:
        self._changed[tool] = self.tools.get(tool)
        alarm = verdict.alarm
        return Change(
            tool=tool,
            kind="errors" if alarm.what == "errors" else "latency",
            is_begin=verdict.is_begin,
            reason=verdict.reason,
            what=alarm.what,
            since_s=alarm.since_s,
            at_s=verdict.at_s,
            usual=verdict.usual,
            now=verdict.now,
            calls=verdict.calls,
        )

    def _end(self, tool: str, watched: Watched, reason: Reason, at_s: float) -> list[Change]:
        """Without a look at calls: of those nothing is known."""
        ended = watched.durations.end(at_s), watched.errors.end()
        return [
            self._told(tool, Verdict(alarm, False, reason, at_s, 0.0, 0.0, 0))
            for alarm in ended
            if alarm is not None
        ]

    def _forget(self, tool: str) -> list[Change]:
        watched = self.tools.pop(tool)
        self._open.pop(tool, None)
        found = self._end(tool, watched, "forgotten", watched.seen_s)
        self._changed[tool] = None
        return found

    def take_delta(self) -> dict[str, Watched | None] | None:
        """The tools of which something has changed that a restart must know; None: forgotten."""
        delta, self._changed = self._changed, {}
        return delta or None

    def apply(self, delta: dict[str, Watched | None]) -> None:
        """Take over *delta*."""
        for tool, watched in delta.items():
            self.tools.pop(tool, None)
            if watched is not None:
                self.tools[tool] = watched if watched.is_sound else Watched()

    def clear(self) -> None:
        """Forget everything."""
        self.tools, self._open, self._changed = {}, {}, {}

    def state(self) -> dict[str, Watched]:
        """All that is known, but for the open groups."""
        return self.tools

    @classmethod
    def restore(cls, state: dict[str, Watched]) -> Changes:
        """What was known before; nothing of it is told again."""
        found = cls()
        found.apply({**state})
        return found


def _within(figure: float, least: float, most: float) -> float:
    """*figure* held to its bounds; *least* for what is no number."""
    return least if math.isnan(figure) else min(most, max(least, figure))
