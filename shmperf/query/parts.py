"""
What a view is made of, by name: whoever shows it, a page, a file or a terminal, has it from here.

Each part is what the command of that name prints with ``--json``. A new one is a row here, and has
its address, its place in the description of the interface and in a report by that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from shmperf.analysis.runreport import Report
from shmperf.analysis.shownalert import ShownAlert
from shmperf.analysis.stats import SessionStats
from shmperf.analysis.treestate import Edge
from shmperf.errors import NotKept
from shmperf.session.messages import OpenCallAnswer, SessionStatus
from shmperf.storage.failing import ErrorGroup
from shmperf.storage.kept import KeptCall
from shmperf.storage.reports import load, names

from .answers import Answers
from .changed import Changed, changed
from .story import Story, story_of
from .trend import Trend, trend

__all__ = ["PARTS", "AlertsKnown", "Part", "Wanted"]

_MOST_ROWS = 1000


class Wanted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which of it: what stands behind an address's question mark; each part says what it takes."""

    tool: Annotated[str, Meta(max_length=10_000)] | None = None
    limit: Annotated[int, Meta(ge=1, le=_MOST_ROWS)] = 20
    since: Annotated[float, Meta(ge=0)] | None = None
    until: Annotated[float, Meta(ge=0)] | None = None
    open: bool = False


class Part(NamedTuple):
    """
    One row: its name, the struct it is of, what it takes of `Wanted`, and who answers.

    Of a part with a *key* there are many, one by each id or name, the answer's third argument.
    """

    name: str
    shape: Any
    takes: tuple[str, ...]
    answer: Callable[[Answers, Wanted, str], Any]
    text: str
    key: str = ""


class AlertsKnown(msgspec.Struct):
    """What turned bad, in the order of its begin."""

    alerts: list[ShownAlert]


def _stats(answers: Answers, wanted: Wanted, _: str) -> SessionStats:
    found = msgspec.convert(answers.stats(), SessionStats)
    if wanted.tool is not None:
        found.tool_stats = {
            tool: stats for tool, stats in found.tool_stats.items() if tool == wanted.tool
        }
    return found


def _tree(answers: Answers, wanted: Wanted, _: str) -> list[Edge]:
    edges = answers.tree()
    return [edge for edge in edges if wanted.tool in (None, edge.tool, edge.parent)]


def _alerts(answers: Answers, wanted: Wanted, _: str) -> AlertsKnown:
    return AlertsKnown([one for one in answers.alerts() if not (wanted.open and one.ended)])


def _errors(answers: Answers, wanted: Wanted, _: str) -> list[ErrorGroup]:
    return answers.error_groups(wanted.tool)[: wanted.limit]


def _report(answers: Answers, _: Wanted, name: str) -> Report:
    if name not in names(answers.storage):
        raise NotKept(f"no report {name[:100]!r}")
    return load(answers.storage, name)


PARTS = (
    Part(
        "stats",
        SessionStats,
        ("tool",),
        _stats,
        "calls and durations of every tool, or of one, and the books",
    ),
    Part(
        "tree",
        list[Edge],
        ("tool",),
        _tree,
        "which tool calls which, or what calls one and it calls",
    ),
    Part(
        "inflight",
        list[OpenCallAnswer],
        (),
        lambda answers, _, __: answers.in_flight(),
        "the calls that are open now, the oldest first",
    ),
    Part("errors", list[ErrorGroup], ("tool", "limit"), _errors, "failed calls in groups"),
    Part(
        "slow",
        list[KeptCall],
        ("tool", "limit"),
        lambda answers, wanted, _: answers.slowest(wanted.limit, wanted.tool),
        "the slowest calls",
    ),
    Part("alerts", AlertsKnown, ("open",), _alerts, "what turned bad, and whether it is over"),
    Part(
        "intervals",
        Trend,
        ("tool", "since", "until"),
        lambda answers, wanted, _: trend(answers, wanted.tool, wanted.since, wanted.until),
        "calls, errors, quantiles and durations over time",
    ),
    Part(
        "changes",
        Changed,
        ("since", "until"),
        lambda answers, wanted, _: changed(answers, wanted.since, wanted.until),
        "what got slower or faster: since a time, since this run began, or against an earlier run",
    ),
    Part(
        "trace",
        Story,
        (),
        lambda answers, _, call: story_of(answers, call),
        "one call: its callers, what lay below it, and when",
        key="id",
    ),
    Part(
        "status",
        SessionStatus,
        (),
        lambda answers, _, __: answers.status(with_sizes=False),
        "session, collector, storage, workers",
    ),
    Part(
        "reports",
        list[str],
        (),
        lambda answers, _, __: names(answers.storage),
        "the names of the optimization reports, the newest last",
    ),
    Part("reports", Report, (), _report, "one optimization report", key="name"),
)
