"""The columns of what the live terminal lists: calls in flight, tools, workers, kept calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.text import Text

from shmperf.query.look import ToolLook, WorkerLook
from shmperf.session.messages import OpenCallAnswer
from shmperf.views.formatting import duration, printable, size
from shmperf.views.spark import bar, spark

from .rowlist import Field

__all__ = ["chain_of", "kept_fields", "open_fields", "rate", "tool_fields", "worker_fields"]

_LONGEST_NAME, _LONGEST_PARAMS, _LONGEST_NODE = 60, 400, 40
# A call that is open for so long is worth a look, and for so long another.
_LONG_S, _VERY_LONG_S = 1.0, 10.0
_SPARK, _BAR = 12, 8


def rate(value: float | None) -> str:
    """Calls a second."""
    if value is None:
        return "–"
    if value >= 1e6:
        return f"{value / 1e6:.1f}M"
    if value >= 1e4:
        return f"{value / 1e3:.0f}k"
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def chain_of(call: OpenCallAnswer) -> Text:
    """The callers, and the call's own tool, which is what hangs."""
    text = Text()
    if call.node is not None:
        # Of a fleet's, where it runs.
        text.append(f"{printable(call.node, _LONGEST_NODE)}  ", "cyan")
    for name in call.chain:
        text.append(f"{printable(name, _LONGEST_NAME)} › ", "dim")
    return text.append(printable(call.tool, _LONGEST_NAME), "bold")


def _age(call: OpenCallAnswer) -> Text:
    style = "red" if call.running_s >= _VERY_LONG_S else "yellow"
    return Text(duration(call.running_s), style if call.running_s >= _LONG_S else "")


def open_fields() -> Sequence[Field]:
    """Calls in flight."""
    return (
        Field("age", 8, 0, _age, lambda call: call.running_s),
        Field(
            "call",
            0,
            0,
            chain_of,
            lambda call: call.tool,
            falling=False,
            is_text=True,
            is_name=True,
        ),
        Field("worker", 8, 1, lambda call: str(call.pid), lambda call: call.pid),
        Field(
            "parameters",
            0,
            2,
            lambda call: printable(call.params or "–", _LONGEST_PARAMS),
            is_text=True,
        ),
    )


def tool_fields(rates: Callable[[str], list[float]]) -> Sequence[Field]:
    """Tools; *rates* has a tool's course."""
    return (
        Field(
            "tool",
            0,
            0,
            lambda row: printable(row.tool, 200),
            _name,
            falling=False,
            is_text=True,
            is_name=True,
        ),
        Field("calls/s", 8, 0, lambda row: rate(row.rate), lambda row: row.rate or 0.0),
        Field("", _SPARK, 5, lambda row: Text(spark(rates(row.tool), _SPARK), "cyan")),
        Field("calls", 11, 4, lambda row: f"{row.count:,}", lambda row: row.count),
        Field("p50", 8, 2, lambda row: duration(row.p50_s), lambda row: row.p50_s or 0.0),
        Field("p95", 8, 1, lambda row: duration(row.p95_s), lambda row: row.p95_s or 0.0),
        Field("p99", 8, 3, lambda row: duration(row.p99_s), lambda row: row.p99_s or 0.0),
        Field("errors", 8, 1, _errors, lambda row: row.errors),
        Field("own", 5, 2, _own, lambda row: row.own_share),
        Field("", _BAR, 6, lambda row: Text(bar(row.own_share, _BAR), "magenta")),
        Field("open", 6, 2, _open, lambda row: row.in_flight),
    )


def _name(row: ToolLook) -> str:
    return row.tool.lower()


def _errors(row: ToolLook) -> Text:
    return Text(f"{row.errors:,}", "red" if row.errors else "dim")


def _own(row: ToolLook) -> str:
    return f"{100 * row.own_share:.0f} %"


def _open(row: ToolLook) -> Text:
    return Text(f"{row.in_flight:,}", "yellow" if row.in_flight else "dim")


def worker_fields(opened: Mapping[str, OpenCallAnswer]) -> Sequence[Field]:
    """Workers; *opened* has the calls in flight by id."""

    def doing(row: WorkerLook) -> Text:
        call = opened.get(row.doing or "")
        if call is None:
            doing = Text("–" if row.doing is None else "a call", "dim")
            name = printable(row.name or "", _LONGEST_NODE)
            return Text(f"{name}  ", "cyan").append_text(doing) if name else doing
        text = Text(f"{duration(call.running_s)}  ", _age(call).style)
        text.append_text(chain_of(call))
        if call.params:
            text.append(f"  {printable(call.params, _LONGEST_PARAMS)}", "dim")
        return text

    return (
        Field("worker", 8, 0, lambda row: str(row.pid), lambda row: row.pid, falling=False),
        Field("CPU", 6, 1, _cpu, lambda row: row.cpu_percent or 0.0),
        Field("memory", 10, 1, _memory, lambda row: row.memory_bytes or 0),
        Field("threads", 7, 3, lambda row: str(row.threads or "–"), lambda row: row.threads or 0),
        Field("open", 6, 2, lambda row: f"{row.in_flight:,}", lambda row: row.in_flight),
        Field("does now", 0, 0, doing, is_text=True),
    )


def _cpu(row: WorkerLook) -> str:
    return "–" if row.cpu_percent is None else f"{row.cpu_percent:.0f} %"


def _memory(row: WorkerLook) -> str:
    return "–" if row.memory_bytes is None else size(row.memory_bytes)


def kept_fields() -> Sequence[Field]:
    """Kept calls as commands print them: the slowest, or the last."""
    return (
        Field("time", 9, 0, lambda call: duration(call["duration_s"])),
        Field("began", 23, 2, lambda call: printable(call["timestamp"])[:23].replace("T", " ")),
        Field("outcome", 16, 1, _outcome, is_text=True),
        Field("parameters", 0, 0, _params, is_text=True),
        Field("worker", 8, 3, lambda call: str(call["pid"] or "–")),
    )


def _params(call: Mapping[str, Any]) -> str:
    return printable(call["params"] or "–", _LONGEST_PARAMS)


def _outcome(call: Mapping[str, Any]) -> Text:
    if call["status"] == "ok":
        return Text("ok", "dim")
    return Text(printable(f"{call['status']} {call['err'] or ''}".strip(), 40), "red")
