"""A look as tables: the live terminal where there is no terminal for it, or no Textual."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text

from shmperf.query.look import Look, ToolLook
from shmperf.session.messages import OpenCallAnswer

from .columns import Column, Columns
from .formatting import duration, printable, size

__all__ = ["plainly"]

_MOST_ROWS = 20
_LONGEST_NAME, _LONGEST_PARAMS = 60, 80
_OPEN = (
    Column("age"),
    Column("call in flight", 0, 12, is_text=True),
    Column("worker", 1),
    Column("parameters", 2, 12, is_text=True),
)
_TOOLS = (
    Column("tool", 0, 12, is_text=True),
    Column("calls/s", 1),
    Column("calls", 4),
    Column("p50", 3),
    Column("p95", 2),
    Column("p99", 4),
    Column("errors", 1),
    Column("own", 2),
    Column("open", 3),
)
_WORKERS = (
    Column("worker"),
    Column("CPU", 1),
    Column("memory", 1),
    Column("does now", 0, 12, is_text=True),
)


def plainly(look: Look) -> RenderableType:
    """The look as one thing to print."""
    return Group(*_parts(look))


def _parts(look: Look) -> Iterator[RenderableType]:
    yield _head(look)
    if look.open:
        yield Columns(_OPEN, [_call(call) for call in look.open[:_MOST_ROWS]])
    tools = sorted(look.tools, key=lambda tool: -tool.own_share)
    if tools:
        yield Columns(_TOOLS, [_tool(tool) for tool in tools[:_MOST_ROWS]])
    if len(tools) > _MOST_ROWS:
        yield Text(f"{len(tools) - _MOST_ROWS:,} more tools", "dim")
    if look.workers:
        yield Columns(_WORKERS, list(_workers(look)))


def _head(look: Look) -> Text:
    at = datetime.fromtimestamp(look.at_s, UTC).strftime("%H:%M:%S")
    text = Text(f"{at}  {printable(look.session or look.storage, 60)}", "bold")
    text.append("  live" if look.is_live else "  at rest", "default")
    text.append(f"  mode {look.mode}  {look.begun:,} begun  {look.errors:,} errors", "default")
    lost = sum(look.lost.values())
    text.append(f"  {lost:,} lost", "red" if lost else "default")
    text.append(f"  {look.aborted:,} aborted  {look.in_flight:,} in flight", "default")
    if look.problem:
        text.append(f"\n{printable(look.problem, 300)}", "red")
    for alert in look.alerts:
        text.append(f"\n! {printable(alert.text, 200)}", "yellow")
    return text


def _call(call: OpenCallAnswer) -> list[str | Text]:
    params = printable(call.params or "–", _LONGEST_PARAMS)
    return [
        duration(call.running_s),
        _chain(call),
        printable(call.node or call.pid, _LONGEST_NAME),
        params,
    ]


def _chain(call: OpenCallAnswer) -> str:
    return " › ".join(printable(name, _LONGEST_NAME) for name in (*call.chain, call.tool))


def _tool(tool: ToolLook) -> list[str | Text]:
    return [
        printable(tool.tool, _LONGEST_NAME),
        "–" if tool.rate is None else f"{tool.rate:,.0f}",
        f"{tool.count:,}",
        duration(tool.p50_s),
        duration(tool.p95_s),
        duration(tool.p99_s),
        Text(f"{tool.errors:,}", "red" if tool.errors else ""),
        f"{100 * tool.own_share:.0f} %",
        f"{tool.in_flight:,}",
    ]


def _workers(look: Look) -> Iterator[Sequence[str | Text]]:
    opened = {call.id: call for call in look.open}
    for worker in look.workers[:_MOST_ROWS]:
        call = opened.get(worker.doing or "")
        yield [
            printable(worker.name or worker.pid, _LONGEST_NAME),
            "–" if worker.cpu_percent is None else f"{worker.cpu_percent:.0f} %",
            "–" if worker.memory_bytes is None else size(worker.memory_bytes),
            "–" if call is None else f"{duration(call.running_s)}  {_chain(call)}",
        ]
