"""
Where most of a call's time went: the tool below it that one looks at first.

    call ──► children by tool ──► the one that took half of it or more ──► its children … Culprit

Calls of one tool count as one: twelve short ones may be what one waits for. Their time is the union
of their intervals, within the call's own, so that what ran at once is not counted twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from .waterfall import Traced

__all__ = ["HALF", "Culprit", "culprit"]

HALF = 0.5


class Culprit(msgspec.Struct, kw_only=True):
    """
    What took most of a call's time.

    ``path`` leads from a child's tool down to the one that did; empty, it was the call's own work.
    ``calls`` are those of the last one, ``open`` how many of them have not ended. ``time_s`` is
    theirs, ``share`` its part (0 to 1) of the call's: below a half nothing stands out.
    """

    path: list[str]
    calls: int
    open: int
    time_s: float
    share: float


def culprit(call: Traced, now_s: float) -> Culprit | None:
    """What took most of *call*, of an open one until *now_s* (Unix time); None where unknown."""
    end_s = now_s if call.status == "open" else call.start_s + (call.duration_s or 0.0)
    whole_s = end_s - call.start_s
    if whole_s <= 0:
        return None
    path: list[str] = []
    group, time_s = [call], whole_s
    while found := _longest(group, call.start_s, end_s):
        tool, calls, took_s = found
        if took_s < HALF * time_s:
            break
        group, time_s = calls, took_s
        path.append(tool)
    if not path:
        return _none_stands_out(call, end_s)
    return _of(path, group, time_s, whole_s)


def _none_stands_out(call: Traced, end_s: float) -> Culprit:
    """The child's tool that took most, or the call itself where that took more."""
    whole_s = end_s - call.start_s
    own_s = whole_s - _covered(call.children, call.start_s, end_s)
    found = _longest([call], call.start_s, end_s)
    if found is None or found[2] < own_s:
        return Culprit(path=[], calls=1, open=0, time_s=own_s, share=own_s / whole_s)
    tool, calls, took_s = found
    return _of([tool], calls, took_s, whole_s)


def _of(path: list[str], calls: Sequence[Traced], time_s: float, whole_s: float) -> Culprit:
    return Culprit(
        path=path,
        calls=len(calls),
        open=sum(call.runs_on for call in calls),
        time_s=time_s,
        share=time_s / whole_s,
    )


def _longest(
    above: Iterable[Traced], begin_s: float, end_s: float
) -> tuple[str, list[Traced], float] | None:
    """Of the tools below these calls the one that took most, its calls, and how long they took."""
    by_tool: dict[str, list[Traced]] = defaultdict(list)
    for call in above:
        for child in call.children:
            by_tool[child.tool].append(child)
    took = ((tool, calls, _covered(calls, begin_s, end_s)) for tool, calls in by_tool.items())
    return max(took, key=lambda one: one[2], default=None)


def _covered(calls: Iterable[Traced], begin_s: float, end_s: float) -> float:
    """For how long at least one of *calls* ran between two times."""
    covered_s, reached_s = 0.0, begin_s
    for call in sorted(calls, key=lambda one: one.start_s):
        # One that is open, or has died, is taken to have run on.
        until_s = end_s if call.runs_on else min(end_s, call.start_s + (call.duration_s or 0.0))
        from_s = max(reached_s, call.start_s)
        if until_s > from_s:
            covered_s += until_s - from_s
            reached_s = until_s
    return covered_s
