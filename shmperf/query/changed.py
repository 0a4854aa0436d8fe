"""
What changed: an earlier run against all that is recorded, or a time against the time before it.

    answers.earlier          what its reader named, by `diff`'s words: against everything
    since, until             what ended in that time, from the intervals, against the day before it
    neither                  since the oldest worker has begun: this run against the one before; at
                             rest, since the last minute in which nothing was called

An interval belongs to one side alone: to that in which it begins. The one in which a run began
right behind another is on neither side, as it has calls of both.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shmperf.analysis.diff import Comparison, Earlier, Measured, ToolComparison, compare
from shmperf.analysis.spans import Span
from shmperf.analysis.timeline import LENGTH_NS
from shmperf.analysis.totals import Totals

from .answers import Answers

__all__ = ["Changed", "changed", "measured", "measured_between", "measured_in"]

_DAY_S = 86_400.0
_PAUSE_S = 60.0
_LENGTH_S = LENGTH_NS / 1e9
# Of a tool's calls half have to be in the intervals.
_MOST_OF = 2


class Changed(msgspec.Struct, kw_only=True):
    """
    Tools of both sides, as ``diff`` has them; A, the side ``against`` which it is, came before.

    ``since_s`` and ``until_s`` (Unix seconds) are where B begins and ends; None where all of it is
    compared, or goes on.
    """

    against: str
    since_s: float | None = None
    until_s: float | None = None
    tools: dict[str, ToolComparison]


def changed(
    answers: Answers, since_s: float | None = None, until_s: float | None = None
) -> Changed:
    """What changed; without tools where nothing is known of that time nor of the day before."""
    earlier: Earlier | None = answers.earlier
    if since_s is None and until_s is None and earlier is not None:
        found = compare(earlier.tools, measured_in(answers))
        return Changed(against=earlier.name, tools=_of(found))
    ended_s, since_s = _begin(answers) if since_s is None else (since_s, since_s)
    before = measured_between(answers, ended_s - _DAY_S, ended_s)
    found = compare(before, measured_between(answers, since_s, until_s))
    # Without anything before, all of it would be new.
    tools = _of(found) if before else {}
    for call in answers.in_flight():
        # It hangs, or takes its time: there is no telling yet.
        if (one := tools.get(call.tool)) is not None and one.verdict == "gone":
            one.verdict = "unsure"
    return Changed(against="the day before", since_s=since_s, until_s=until_s, tools=tools)


def _of(found: Comparison) -> dict[str, ToolComparison]:
    return {tool: found.of(tool) for tool in found.tools}


def _begin(answers: Answers) -> tuple[float, float]:
    """When what was before this run ended, or the last one, and when that began."""
    workers = answers.status(with_sizes=False).workers
    begun = [worker.started for worker in workers if worker.started is not None]
    if not begun:
        begin = _last_begin(list(answers.intervals().spans()))
        return begin, begin
    begin = min(begun) // _LENGTH_S * _LENGTH_S
    is_close = bool(measured_between(answers, begin - _PAUSE_S, begin))
    return begin, begin + _LENGTH_S if is_close else begin


def _last_begin(spans: list[Span]) -> float:
    """Where the last pause ends."""
    spans.sort(key=lambda span: span.start_s, reverse=True)
    begin = spans[0].start_s if spans else 0.0
    for span in spans:
        if span.start_s + span.length_s < begin - _PAUSE_S:
            break
        begin = span.start_s
    return begin


def measured_in(answers: Answers) -> dict[str, Measured]:
    """
    Everything since the last cleanup, to compare.

    Calls of a run of the optimization cycle took longer for being recorded in detail. The intervals
    leave them out, so a tool is taken from there, unless most of it is too old for them.
    """
    counted = answers.figures().totals
    dated = answers.intervals().totals()
    return measured(
        {
            tool: dated[tool]
            if tool in dated and dated[tool].count * _MOST_OF >= totals.count
            else totals
            for tool, totals in counted.items()
        }
    )


def measured_between(
    answers: Answers, since_s: float | None, until_s: float | None
) -> dict[str, Measured]:
    """What is known of a time, from the intervals that begin in it."""
    found: dict[str, Totals] = {}
    for interval in answers.intervals(since_s=since_s, until_s=until_s).spans():
        # One that had begun before is the time before's: no call counts on both sides.
        if since_s is None or interval.start_s >= since_s:
            for tool, totals in interval.tools.items():
                found.setdefault(tool, Totals()).merge(totals)
    return measured(found)


def measured(totals: Mapping[str, Totals]) -> dict[str, Measured]:
    """*totals* to compare; tools without a call that ended are left out."""
    return {tool: Measured.of(one) for tool, one in totals.items() if one.count or one.aborted}
