"""
What people read: tables and trees on a terminal, plain text in a pipe.

Names and parameters come from the programs that were recorded, so control characters, terminal
escape sequences among them, are shown and not sent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import msgspec
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from shmperf.analysis.names import Varying, advice_for

from .formatting import duration, printable

__all__ = [
    "books",
    "call_tree",
    "checks",
    "console_for",
    "errors",
    "in_flight",
    "ranking",
    "slowest",
    "stats",
    "status",
]

_PIPE_WIDTH = 160
_LONGEST_NAME = 60
_NAMES_SHOWN = 3
_MOST_ROWS = 1_000
_STATE_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def console_for(stream: TextIO) -> Console:
    """A console for *stream*: colours only on a terminal, and wide enough lines in a pipe."""
    is_terminal = stream.isatty()
    plain = not is_terminal or bool(os.environ.get("NO_COLOR"))
    return Console(
        file=stream,
        width=None if is_terminal else _PIPE_WIDTH,
        highlight=False,
        force_terminal=False if plain else None,
    )


def stats(found: Mapping[str, Any]) -> RenderableType:
    """All tools with their figures, and the books beneath."""
    if "tool_stats" not in found:
        return _stats_table([found])
    rows = sorted(found["tool_stats"].values(), key=_total_time, reverse=True)
    return Group(_stats_table(rows), books(found), *_names(found))


def _names(found: Mapping[str, Any]) -> Iterator[Text]:
    """What there is to say of the tools' names: those without one, those that seem made up."""
    for tool, first in found.get("nameless", {}).items():
        shown = ", ".join(repr(printable(name, _LONGEST_NAME)) for name in first[:_NAMES_SHOWN])
        yield Text(f"{tool}: no memory for further names; the first: {shown}", "yellow")
    for one in msgspec.convert(found.get("varying", [])[:_NAMES_SHOWN], list[Varying]):
        yield Text(printable(advice_for(one)), "yellow")


def _stats_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("tool", "calls", "avg", "p50", "p95", "p99", "max", "errors", "aborted", "kept")
    shown: list[list[str | Text]] = [
        [
            _name(row["tool"]),
            f"{row['count']:,}",
            *(duration(row[key]) for key in ("avg_duration_s", "p50_s", "p95_s", "p99_s")),
            duration(row["max_duration_s"]),
            _count(row["errors"], "red"),
            _count(row["aborted"], "yellow"),
            f"{row['current_size']:,}",
        ]
        for row in rows
    ]
    return _filled(table, shown)


def _filled(table: Table, rows: list[list[str | Text]]) -> Table:
    """
    *table* with *rows*.

    Very many of them are one row of tall cells, which looks the same: rich takes a millisecond a
    row, and a fifth of that a line.
    """
    if len(rows) <= _MOST_ROWS:
        for row in rows:
            table.add_row(*row)
        return table
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    lines = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    table.add_row(*(Text("\n").join(column) for column in zip(*lines, strict=True)))
    return table


def books(found: Mapping[str, Any]) -> Text:
    """One line: calls, lost and aborted ones, what is running; lost and faults by cause."""
    lost = sum(found["lost"].values())
    text = Text()
    text.append(f"{found['total_calls']:,} calls", "bold")
    text.append(f" · {lost:,} lost", "red" if lost else "")
    text.append(f" · {found['aborted']:,} aborted", "yellow" if found["aborted"] else "")
    text.append(f" · {found['in_flight']:,} in flight · {found['begun']:,} begun")
    text.append(f" · mode {found['mode']} · {found['workers']} workers")
    unattached = found.get("unattached") or {}
    if unattached.get("workers"):
        text.append(f" · not complete: {_unattached(unattached)}", "red")
    elif not found["complete"]:
        text.append(" · not complete: no collector answered", "yellow")
    for title in ("lost", "faults"):
        if found[title]:
            causes = ", ".join(f"{printable(c)} {n:,}" for c, n in sorted(found[title].items()))
            text.append(f"\n{title}: {causes}", "red" if title == "lost" else "yellow")
    return text


def call_tree(edges: Iterable[Mapping[str, Any]]) -> RenderableType:
    """Which tool calls which: calls, total and own time, the costliest first."""
    below: dict[str | None, list[Mapping[str, Any]]] = {}
    for edge in edges:
        below.setdefault(edge["parent"], []).append(edge)
    if not below:
        return Text("no calls yet")
    top = Tree(Text("calls · total · own", "dim"))
    tops = below.get(None, [])
    reached = {edge["tool"] for edge in tops}
    for edge in tops:
        _grow(top, edge, below, (edge["tool"],))
    for parent, edges_below in below.items():
        # Parents that are not called from anywhere here: still open, or let go.
        if parent is not None and not _is_reached(parent, below, reached):
            branch = top.add(Text(f"{printable(parent, _LONGEST_NAME)} (open)", "yellow"))
            reached.add(parent)
            for edge in edges_below:
                _grow(branch, edge, below, (parent, edge["tool"]))
    return top


def _is_reached(
    parent: str, below: Mapping[str | None, list[Mapping[str, Any]]], reached: set[str]
) -> bool:
    frontier = list(reached)
    while frontier:
        for edge in below.get(frontier.pop(), ()):
            if edge["tool"] not in reached:
                reached.add(edge["tool"])
                frontier.append(edge["tool"])
    return parent in reached


def _grow(
    branch: Tree,
    edge: Mapping[str, Any],
    below: Mapping[str | None, list[Mapping[str, Any]]],
    path: tuple[str, ...],
) -> None:
    text = Text(printable(edge["tool"], _LONGEST_NAME), "bold")
    total, own = edge["total_ns"] / 1e9, max(0, edge["own_ns"]) / 1e9
    text.append(f"  {edge['calls']:,} · {duration(total)} · {duration(own)}", "default")
    grown = branch.add(text)
    for child in below.get(edge["tool"], ()):
        if child["tool"] in path:
            grown.add(Text(f"{printable(child['tool'], _LONGEST_NAME)} (again)", "dim"))
        elif len(path) < 12:
            _grow(grown, child, below, (*path, child["tool"]))


def slowest(lines: Iterable[Mapping[str, Any]]) -> Table:
    """The slowest calls."""
    table = _table("tool", "duration", "started", "parameters", "id")
    for row in lines:
        table.add_row(
            _name(row["tool"]),
            duration(row["duration_s"]),
            printable(row["timestamp"]),
            printable(row["params"], 80),
            row["id"],
        )
    return table


def errors(groups: Iterable[Mapping[str, Any]]) -> Table:
    """Every failed call: caught exceptions by fingerprint, the others by tool and class."""
    table = _table("tool", "fingerprint", "class", "count", "first", "last", "sample")
    for row in groups:
        others = len(row["tools"]) - 1
        table.add_row(
            _name(row["tool"]) + (f" +{others}" if others > 0 else ""),
            printable(row["fingerprint"] or row["status"]),
            printable(row["err"] or "–"),
            f"{row['count']:,}",
            printable(row["first"]),
            printable(row["last"]),
            printable(_sample(row), 80),
        )
    return table


def _sample(row: Mapping[str, Any]) -> str:
    """What a group shows of one of its calls: a message and a place, or the parameters alone."""
    if row["sample_of"] == "parameters":
        return f"called with {row['sample']}"
    return " at ".join(filter(None, (row["sample"], row["where"])))


def in_flight(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The calls that are open now, the longest first."""
    table = _table("tool", "running", "pid", "id", "parent")
    for row in rows:
        table.add_row(
            _name(row["tool"]),
            duration(row["running_s"]),
            str(row["pid"]),
            row["id"],
            row["parent"] or "–",
        )
    return table


def ranking(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Tools for a task, the best choice first, with what they were ranked by."""
    if not rows:
        return Text("no tool in the store has a word of that")
    table = _table("tool", "score", "relevance", "success", "latency", "speed", "calls", "why")
    for row in rows:
        table.add_row(
            _name(row["name"]),
            f"{row['score']:.3f}" if row["usable"] else "–",
            *(f"{row[key]:.2f}" for key in ("relevance", "success")),
            duration(row["latency_s"]),
            f"{row['speed']:.2f}",
            f"{row['calls']:,}" + (" live" if row["source"] == "live" else ""),
            printable(row["why"], 120),
        )
    return table


def _unusual(row: Mapping[str, Any]) -> str:
    usual = f"{duration(row['usual_from_s'])} to {duration(row['usual_to_s'])}"
    more = f", and {row['untold']:,} more before" if row["untold"] else ""
    tool = printable(row["tool"], _LONGEST_NAME)
    return f"{tool} took {duration(row['duration_s'])}, usual are {usual} (call {row['id']}){more}"


def _sink(row: Mapping[str, Any]) -> str:
    """One line about what keeps a tool store's performance facts current."""
    who = "no sink is running" if row["pid"] is None else f"pid {row['pid']}"
    if row["restarts"]:
        who += f", {row['restarts']} restarts"
    parts = [who, f"{row['sent']:,} updates sent"]
    if row["last_sent_s"] is not None:
        parts.append(f"last {duration(max(0.0, time.time() - row['last_sent_s']))} ago")
    parts.append(f"{row['waiting']:,} waiting")
    names = ", ".join(printable(name, 30) for name in row["unknown_names"])
    parts.append(f"{row['unknown']:,} names unknown" + (f" ({names})" if names else ""))
    parts += [f"{row['refused']:,} refused", f"{row['retries']:,} retries"]
    return f"{printable(row['store'])}: {'; '.join(parts)}"


def status(found: Mapping[str, Any]) -> RenderableType:
    """Session, collector, storage, and the workers with what they use."""
    collector = found["collector"]
    lines = Text()
    lines.append(f"session    {printable(found['session'] or 'none')}\n")
    if collector is None:
        lines.append("collector  none is running\n", "yellow")
    else:
        uptime = duration(collector["uptime_s"])
        lines.append(f"collector  pid {collector['pid']}, up {uptime}, ")
        lines.append(f"{collector['records']:,} records drained\n")
    state = printable(found["storage_state"])
    lines.append(f"storage    {printable(found['storage'])}: ")
    lines.append(f"{state}\n", "green" if state == "ok" else "red")
    lines.append(f"mode       {found['mode']}")
    unattached = found.get("unattached") or {}
    if unattached.get("workers"):
        lines.append(f"\nunread     {_unattached(unattached)}", "red")
    for cause, text in found.get("told", {}).items():
        lines.append(f"\n{printable(cause)}: {printable(text, 200)}", "yellow")
    for row in found.get("unusual", ()):
        lines.append(f"\nunusual    {_unusual(row)}", "yellow")
    if found.get("rag"):
        lines.append(f"\nrag        {_sink(found['rag'])}", "")
        if found["rag"]["problem"]:
            lines.append(f"\nrag: {printable(found['rag']['problem'], 200)}", "yellow")
    for name, sidecar in found.get("sidecars", {}).items():
        lines.append(f"\nsidecar    {_sidecar(name, sidecar)}", "yellow" * bool(sidecar["problem"]))
    for name, consumer in found.get("consumers", {}).items():
        lines.append(
            f"\nconsumer   {_consumer(name, consumer)}", "yellow" * bool(consumer["dropped"])
        )
    if not found["workers"]:
        return lines
    table = _table("worker pid", "memory", "CPU", "threads")
    for row in found["workers"]:
        memory, cpu = row.get("memory_bytes"), row.get("cpu_percent")
        table.add_row(
            str(row["pid"]),
            "–" if memory is None else f"{memory / (1 << 20):.1f} MiB",
            "–" if cpu is None else f"{cpu:.0f} %",
            str(row.get("threads") or "–"),
        )
    return Group(lines, table)


def _unattached(found: Mapping[str, Any]) -> str:
    """Workers whose memory the collector can't read now, their calls, and why."""
    whose = f"workers that can't be read: {found['workers']:,}, with {found['calls']:,} calls"
    return f"{whose}; {printable(found['reason'], 200)}"


def _sidecar(name: str, row: Mapping[str, Any]) -> str:
    """Whether a process beside the collector runs, and what keeps it from it."""
    if row["problem"]:
        return f"{printable(name)}: {printable(row['problem'], 200)}"
    parts = [f"pid {row['pid']}"]
    if row["restarts"]:
        parts.append(f"{row['restarts']:,} restarts")
    parts += [f"{row['sent']:,} sent", f"{row['waiting']:,} waiting", f"{row['dropped']:,} dropped"]
    if row["last_error"]:
        parts.append(f"last error: {printable(row['last_error'], 100)}")
    return f"{printable(name)}: {', '.join(parts)}"


def _consumer(name: str, row: Mapping[str, Any]) -> str:
    """How far another system has got with what goes to history."""
    if row["problem"]:
        return f"{printable(name)}: {printable(row['problem'], 100)}"
    waiting = f"{row['lag']:,} lines wait ({row['lag_bytes'] / (1 << 20):.1f} MiB)"
    return f"{printable(name)}: {row['sent']:,} lines sent, {waiting}, {row['dropped']:,} dropped"


def checks(rows: Iterable[Mapping[str, Any]]) -> Table:
    """What the doctor found, and what to do about it."""
    table = _table("", "check", "found", "what to do")
    for row in rows:
        table.add_row(
            Text(row["state"], _STATE_STYLES.get(row["state"], "")),
            row["check"],
            printable(row["found"], 90),
            printable(row["advice"], 120),
        )
    return table


def _total_time(row: Mapping[str, Any]) -> float:
    return float((row["avg_duration_s"] or 0.0) * row["count"])


def _name(tool: object) -> Text:
    return Text(printable(tool, _LONGEST_NAME) or '""', "bold")


def _count(count: int, style: str) -> Text:
    return Text(f"{count:,}", style if count else "dim")


_LEFT = {"tool", "parameters", "started", "check", "found", "what to do", "class", "status", "id"}
_LEFT |= {"sample", "first", "last", "parent", "why", ""}


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in _LEFT else "right", overflow="fold")
    return table
