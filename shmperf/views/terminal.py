"""
What people read: tables and trees on a terminal, plain text in a pipe.

Names and parameters come from the programs that were recorded, so control characters, terminal
escape sequences among them, are shown and not sent.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import msgspec
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from shmperf.analysis.names import Varying, advice_for
from shmperf.compiled.chosen import path

from .columns import Column, Columns, Line
from .formatting import duration, printable, size
from .runs import going_on
from .troubles import watched

__all__ = [
    "books",
    "checks",
    "console_for",
    "errors",
    "ranking",
    "slowest",
    "stats",
    "status",
]

# A pipe has no width: whoever reads it cuts.
_PIPE_WIDTH = 10_000
_LONGEST_NAME = 60
_NAMES_SHOWN = 3
_MOST_SAMPLED = 20
_BOOKS_SAY = "begun = calls + lost + aborted + in flight; lost: without a record"
_COLUMNS_SAY = ("aborted: their process died first", "kept: records in the history")
_ESTIMATES_SAY = "sampled out: counted, without a record; durations of such a tool are estimates"
_STATE_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def console_for(stream: TextIO) -> Console:
    """A console for *stream*: colours only on a terminal, and whole lines in a pipe."""
    is_terminal = stream.isatty()
    plain = not is_terminal or bool(os.environ.get("NO_COLOR"))
    return Console(
        file=stream,
        width=None if is_terminal else _PIPE_WIDTH,
        highlight=False,
        # Names, parameters and messages are anybody's: "[x]" and ":b:" stay what they are.
        markup=False,
        emoji=False,
        force_terminal=False if plain else None,
    )


def stats(found: Mapping[str, Any]) -> RenderableType:
    """All tools with their figures, and the books beneath."""
    if "tool_stats" not in found:
        return Group(_stats_table([found]), Text("; ".join(_COLUMNS_SAY), "dim"))
    rows = sorted(found["tool_stats"].values(), key=_total_time, reverse=True)
    table = _stats_table(rows) if rows else Text("no calls were recorded yet")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    notes = [f"{python}, {path()} path here", _BOOKS_SAY, *_COLUMNS_SAY]
    if any(row.get("estimated") for row in rows):
        notes.append(_ESTIMATES_SAY)
    return Group(table, books(found), Text("; ".join(notes), "dim"), *_names(found))


def _names(found: Mapping[str, Any]) -> Iterator[Text]:
    """What there is to say of the tools' names: those without one, those that seem made up."""
    for tool, first in found.get("nameless", {}).items():
        shown = ", ".join(repr(printable(name, _LONGEST_NAME)) for name in first[:_NAMES_SHOWN])
        yield Text(f"{tool}: no memory for further names; the first: {shown}", "yellow")
    for one in msgspec.convert(found.get("varying", [])[:_NAMES_SHOWN], list[Varying]):
        yield Text(printable(advice_for(one)), "yellow")


def _stats_table(rows: Sequence[Mapping[str, Any]]) -> Columns:
    columns = [*_FIGURES]
    # Of no interest in a directory where nobody records, or where every call has a record.
    if not any(row["in_flight"] for row in rows):
        columns.remove(_OPEN)
    if not any(row.get("sampled_out") for row in rows):
        columns.remove(_LEFT_OUT)
    return Columns(columns, ([_FIGURES[column](row) for column in columns] for row in rows))


def books(found: Mapping[str, Any]) -> RenderableType:
    """One line: calls, lost and aborted ones, what is running; lost and faults by cause."""
    lost = sum(found["lost"].values())
    parts = [
        Text(f"{found['total_calls']:,} calls", "bold"),
        Text(f"{lost:,} lost", "red" if lost else ""),
        Text(f"{found['aborted']:,} aborted", "yellow" if found["aborted"] else ""),
        Text(f"{found['in_flight']:,} in flight"),
        Text(f"{found['begun']:,} begun"),
        Text(f"mode {found['mode']}"),
        Text(f"{found['workers']} workers"),
    ]
    unattached = found.get("unattached") or {}
    if unattached.get("workers"):
        parts.append(Text(f"not complete: {_unattached(unattached)}", "red"))
    elif not found["complete"]:
        parts.append(Text("not complete: no collector answered", "yellow"))
    lines: list[RenderableType] = [Line(parts)]
    for title in ("lost", "faults"):
        if found[title]:
            causes = ", ".join(f"{printable(c)} {n:,}" for c, n in sorted(found[title].items()))
            lines.append(Text(f"{title}: {causes}", "red" if title == "lost" else "yellow"))
    return Group(*lines)


def slowest(lines: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The slowest calls kept."""
    if not lines:
        return Text("no call that has ended is kept")
    columns = [
        _TOOL,
        Column("duration", 1),
        Column("started", 3, is_text=True),
        Column("parameters", 2, 20, is_text=True),
        Column("id", 4, is_text=True),
    ]
    # Of a fleet's calls, where they ran.
    if "node" in lines[0]:
        columns.append(Column("node", 1, 12, is_text=True))
    return Columns(columns, map(_slow, lines))


def _slow(row: Mapping[str, Any]) -> list[str | Text]:
    return [
        _name(row["tool"]),
        duration(row["duration_s"]),
        printable(row["timestamp"]),
        printable(row["params"], 80),
        row["id"],
        *([printable(row["node"], _LONGEST_NAME)] if "node" in row else ()),
    ]


def errors(groups: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Every failed call: caught exceptions by fingerprint, the others by tool and class."""
    if not groups:
        return Text("no call has failed")
    columns = [
        _TOOL,
        Column("fingerprint", 4, is_text=True),
        Column("class", 1, 16, is_text=True),
        Column("count", 2),
        Column("first", 6, is_text=True),
        Column("last", 5, is_text=True),
        Column("sample", 3, 20, is_text=True),
    ]
    if "nodes" in groups[0]:
        columns.append(Column("nodes", 2, 16, is_text=True))
    return Columns(columns, map(_error, groups))


def _error(row: Mapping[str, Any]) -> list[str | Text]:
    others = len(row["tools"]) - 1
    return [
        _name(row["tool"]) + (f" +{others}" if others > 0 else ""),
        printable(row["fingerprint"] or row["status"]),
        printable(row["err"] or "–"),
        f"{row['count']:,}",
        printable(row["first"]),
        printable(row["last"]),
        printable(_sample(row), 80),
        *([_nodes(row["nodes"])] if "nodes" in row else ()),
    ]


def _nodes(counts: Mapping[str, int]) -> str:
    """On which nodes, those with most of it first."""
    shown = [f"{printable(name, 20)} {count:,}" for name, count in counts.items()]
    more = len(shown) - _NAMES_SHOWN
    return ", ".join(shown[:_NAMES_SHOWN]) + (f" +{more}" if more > 0 else "")


def _sample(row: Mapping[str, Any]) -> str:
    """What a group shows of one of its calls: a message and a place, or the parameters alone."""
    if row["sample_of"] == "parameters":
        return f"called with {row['sample']}"
    return " at ".join(filter(None, (row["sample"], row["where"])))


def ranking(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Tools for a task, the best choice first, with what they were ranked by."""
    if not rows:
        return Text("no tool in the store has a word of that")
    columns = [
        _TOOL,
        Column("score", 1),
        Column("relevance", 6),
        Column("success", 2),
        Column("latency", 3),
        Column("speed", 7),
        Column("calls", 5),
        Column("why", 4, 24, is_text=True),
    ]
    return Columns(columns, map(_ranked, rows))


_SOURCES = {"live": " live", "fleet": " fleet"}


def _ranked(row: Mapping[str, Any]) -> list[str | Text]:
    return [
        _name(row["name"]),
        f"{row['score']:.3f}" if row["usable"] else "–",
        *(f"{row[key]:.2f}" for key in ("relevance", "success")),
        duration(row["latency_s"]),
        f"{row['speed']:.2f}",
        f"{row['calls']:,}" + _SOURCES.get(row["source"], ""),
        printable(row["why"], 120),
    ]


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
    lines.append(_disk(found.get("bytes") or {}))
    lines.append(f"mode       {found['mode']}")
    unattached = found.get("unattached") or {}
    if unattached.get("workers"):
        lines.append(f"\nunread     {_unattached(unattached)}", "red")
    for cause, text in found.get("told", {}).items():
        lines.append(f"\n{printable(cause)}: {printable(text, 200)}", "yellow")
    for row in found.get("unusual", ()):
        lines.append(f"\nunusual    {_unusual(row)}", "yellow")
    lines.append_text(watched(found))
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
    for tool, row in list(found.get("sampling", {}).items())[:_MOST_SAMPLED]:
        kept = "slow calls are kept" if row["slow_kept"] else "slow calls are not kept"
        reason = printable(row["reason"], 200)
        lines.append(f"\nsampled    {printable(tool)}: 1 of {row['every']}; {reason}; {kept}")
    if runs := going_on(found["optimization"]):
        lines.append(f"\noptimize   {runs}", "")
    if not found["workers"]:
        lines.append("\nworkers    none are recording now")
        return lines
    columns = [Column("worker pid"), Column("memory", 1), Column("CPU", 2), Column("threads", 3)]
    return Group(lines, Columns(columns, map(_worker, found["workers"])))


def _disk(found: Mapping[str, int]) -> str:
    """A line of what files fill, the largest kind first; nothing without any."""
    largest = sorted(found.items(), key=lambda row: -row[1])
    kinds = ", ".join(f"{printable(kind)} {size(count)}" for kind, count in largest)
    return f"disk       {kinds}\n" if kinds else ""


def _worker(row: Mapping[str, Any]) -> list[str | Text]:
    memory, cpu = row.get("memory_bytes"), row.get("cpu_percent")
    return [
        str(row["pid"]),
        "–" if memory is None else f"{memory / (1 << 20):.1f} MiB",
        "–" if cpu is None else f"{cpu:.0f} %",
        str(row.get("threads") or "–"),
    ]


def _unattached(found: Mapping[str, Any]) -> str:
    """Workers whose memory the collector can't read now, their calls, and why."""
    whose = f"workers that can't be read: {found['workers']:,}, with {found['calls']:,} calls"
    return f"{whose}; {printable(found['reason'], 200)}"


def _sidecar(name: str, row: Mapping[str, Any]) -> str:
    """Whether a process beside the collector runs, and what keeps it from it."""
    problem = printable(row["problem"], 200) if row["problem"] else ""
    if row["pid"] is None:
        return f"{printable(name)}: {problem}"
    parts = [f"pid {row['pid']}"]
    if row["restarts"]:
        parts.append(f"{row['restarts']:,} restarts")
    parts += [f"{row['sent']:,} sent", f"{row['waiting']:,} waiting", f"{row['dropped']:,} dropped"]
    if row["last_error"]:
        parts.append(f"last error: {printable(row['last_error'], 100)}")
    return f"{printable(name)}: {', '.join(parts)}{'; ' * bool(problem)}{problem}"


def _consumer(name: str, row: Mapping[str, Any]) -> str:
    """How far another system has got with what goes to history."""
    if row["problem"]:
        return f"{printable(name)}: {printable(row['problem'], 100)}"
    waiting = f"{row['lag']:,} lines wait ({row['lag_bytes'] / (1 << 20):.1f} MiB)"
    return f"{printable(name)}: {row['sent']:,} lines sent, {waiting}, {row['dropped']:,} dropped"


def checks(rows: Iterable[Mapping[str, Any]]) -> RenderableType:
    """What the doctor found, a check a line, and what to do about it beneath."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        found = Text(printable(row["found"]))
        if row["advice"]:
            found.append(f"\n{printable(row['advice'])}", "bold")
        state = Text(row["state"], _STATE_STYLES.get(row["state"], ""))
        table.add_row(state, row["check"], found)
    return table


def _total_time(row: Mapping[str, Any]) -> float:
    return float((row["avg_duration_s"] or 0.0) * row["count"])


def _name(tool: object) -> Text:
    return Text(printable(tool, _LONGEST_NAME) or '""', "bold")


def _count(count: int, style: str) -> Text:
    return Text(f"{count:,}", style if count else "dim")


_TOOL = Column("tool", 0, 24, is_text=True)
_OPEN = Column("open", 2)
_LEFT_OUT = Column("sampled out", 3)
_FIGURES: dict[Column, Callable[[Mapping[str, Any]], str | Text]] = {
    _TOOL: lambda row: _name(row["tool"]),
    Column("calls", 1): lambda row: f"{row['count']:,}",
    _OPEN: lambda row: _count(row["in_flight"], ""),
    _LEFT_OUT: lambda row: _count(row.get("sampled_out", 0), ""),
    Column("avg", 2): lambda row: duration(row["avg_duration_s"]),
    Column("p50", 6): lambda row: duration(row["p50_s"]),
    Column("p95", 4): lambda row: duration(row["p95_s"]),
    Column("p99", 8): lambda row: duration(row["p99_s"]),
    Column("max", 5): lambda row: duration(row["max_duration_s"]),
    Column("errors", 3): lambda row: _count(row["errors"], "red"),
    Column("aborted", 7): lambda row: _count(row["aborted"], "yellow"),
    Column("kept", 9): lambda row: f"{row['current_size']:,}",
}
