"""What is known of one tool, put together for the screen that shows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from shmperf.query.answers import Answers
from shmperf.query.trend import Step, trend
from shmperf.views.formatting import duration, printable
from shmperf.views.spark import bar, spark

__all__ = ["ToolStory", "tool_story"]

_LONGEST_NAME = 48
_MOST_BARS, _BAR = 14, 30
_MOST_SLOW, _MOST_LAST, _MOST_ERRORS = 10, 10, 5
_SPARK = 60
_MOST_AROUND = 8
# Cells from which on two pictures stand beside each other.
_BESIDE = 90
# A histogram's buckets, sixteen an octave, as it is drawn.
_A_BAR = 16


class _Beside:
    """Two things beside each other, or below where there is no room."""

    def __init__(self, left: RenderableType, right: RenderableType) -> None:
        self._both = left, right

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """One or two columns."""
        if options.max_width < _BESIDE:
            yield from self._both
            return
        table = Table.grid(padding=(0, 4))
        table.add_row(*self._both)
        yield table


class ToolStory(msgspec.Struct):
    """One tool: its figures and pictures above, its calls to choose from, and what is around it."""

    tool: str
    head: RenderableType
    slowest: list[dict[str, Any]]
    last: list[dict[str, Any]]
    around: RenderableType


def tool_story(answers: Answers, tool: str) -> ToolStory:
    """All that there is to say of *tool*; may take as long as reading its history does."""
    stats = answers.stats(tool)
    slowest = msgspec.to_builtins(answers.slowest(_MOST_SLOW, tool))
    last = msgspec.to_builtins(list(deque(answers.calls(tool), maxlen=_MOST_LAST)))[::-1]
    groups = msgspec.to_builtins(answers.error_groups(tool)[:_MOST_ERRORS])
    edges = [edge for edge in answers.tree() if tool in (edge.tool, edge.parent)]
    steps = trend(answers, tool, most=_SPARK).steps
    head = Group(_figures(stats), Text(), _Beside(_histogram(stats), _course(steps)))
    around = Group(*_around(tool, edges), *_errors(groups))
    return ToolStory(tool, head, slowest, last, around)


def _figures(stats: Mapping[str, Any]) -> Text:
    text = Text(f"{stats['count']:,} calls", "bold")
    for name in ("p50_s", "p95_s", "p99_s"):
        text.append(f"  {name[:3]} {duration(stats[name])}", "default")
    text.append(f"  max {duration(stats['max_duration_s'])}", "default")
    text.append(f"  {stats['errors']:,} errors", "red" if stats["errors"] else "dim")
    text.append(f"  {stats['aborted']:,} aborted", "yellow" if stats["aborted"] else "dim")
    if stats["in_flight"]:
        text.append(f"  {stats['in_flight']:,} in flight", "yellow")
    return text


def _histogram(stats: Mapping[str, Any]) -> RenderableType:
    """How long calls took: a bar an octave."""
    octaves: dict[int, int] = {}
    for bucket, count in (stats.get("histogram") or {}).items():
        octaves[int(bucket) // _A_BAR] = octaves.get(int(bucket) // _A_BAR, 0) + count
    table = Table.grid(padding=(0, 1))
    table.add_row(Text("duration, up to", "dim"), Text("calls", "dim"))
    most = max(octaves.values(), default=0)
    for octave in sorted(octaves)[-_MOST_BARS:]:
        count = octaves[octave]
        shown = Text(bar(count / most, _BAR), "cyan").append(f" {count:,}", "default")
        table.add_row(Text(duration(2.0 ** (octave + 1)), justify="right"), shown)
    return table if octaves else Text("no call was timed", "dim")


def _course(steps: Sequence[Step]) -> RenderableType:
    if not steps:
        return Text("no intervals yet", "dim")
    whole_s = steps[-1].at_s + steps[-1].length_s - steps[0].at_s
    table = Table.grid(padding=(0, 1))
    table.add_row(Text("over time", "dim"), Text(f"{duration(whole_s)} in all", "dim"), "")
    rows: list[tuple[str, list[float], str]] = [
        ("calls", [step.count for step in steps], f"{max(s.count for s in steps):,}"),
        ("p50", [step.p50_s or 0.0 for step in steps], duration(steps[-1].p50_s)),
        ("p95", [step.p95_s or 0.0 for step in steps], duration(steps[-1].p95_s)),
        ("errors", [step.errors for step in steps], f"{sum(s.errors for s in steps):,}"),
    ]
    for title, values, said in rows:
        style = "red" if title == "errors" else "cyan"
        table.add_row(title, Text(spark(values, min(_SPARK, len(values))), style), said)
    return table


def _around(tool: str, edges: Sequence[Any]) -> Iterator[RenderableType]:
    callers = [edge for edge in edges if edge.tool == tool]
    callees = [edge for edge in edges if edge.parent == tool]
    total_ns = sum(edge.total_ns for edge in callers) or 1
    own_ns = sum(max(0, edge.own_ns) for edge in callers)
    table = Table.grid(padding=(0, 2))
    for title, found in (("called by", callers), ("calls", callees)):
        nearest = sorted(found, key=lambda edge: -edge.total_ns)[:_MOST_AROUND]
        for number, edge in enumerate(nearest):
            name = edge.parent if found is callers else edge.tool
            share = edge.total_ns / total_ns
            table.add_row(
                Text("" if number else title, "dim"),
                Text(printable(name or "(no caller)", _LONGEST_NAME), "bold"),
                Text(f"{edge.calls:,} ×", justify="right"),
                Text(duration(edge.total_ns / 1e9), justify="right"),
                Text(bar(min(1.0, share), 10), "magenta"),
                f"{100 * share:.0f} %",
            )
    if callees:
        share = own_ns / total_ns
        table.add_row(
            Text("itself", "dim"),
            Text("own work", "dim"),
            "",
            Text(duration(own_ns / 1e9), justify="right"),
            Text(bar(min(1.0, share), 10), "cyan"),
            f"{100 * share:.0f} %",
        )
    yield table


def _errors(groups: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    for group in groups:
        text = Text(f"{group['count']:,} × ", "red")
        text.append(printable(group["err"] or group["status"] or "failed", 60), "bold red")
        if group["sample"]:
            text.append(f"  {printable(group['sample'], 160)}", "default")
        if group["where"]:
            text.append(f"  {printable(group['where'], 80)}", "dim")
        yield text
