"""Two runs side by side: first what got slower, by how much and how sure, then everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from shmperf.analysis.diff import change_text

from .columns import Column, Columns
from .formatting import duration, printable

__all__ = ["compared", "in_order"]

_LONGEST_NAME = 60
# In the order in which they are read, each with its colour.
_VERDICTS = {
    "slower": "red",
    "faster": "green",
    "unsure": "yellow",
    "new": "",
    "gone": "",
    "same": "dim",
}
_SAYS = (
    "change: B divided by A, with its 95 % interval",
    "same: within 10 %",
    "unsure: too few calls to say",
)
_COLUMNS = [
    Column("tool", 0, 12, is_text=True),
    Column("verdict", 0, is_text=True),
    Column("p50 A", 2),
    Column("p50 B", 2),
    Column("p50 change", 0),
    Column("p95 change", 1),
    Column("p99 change", 4),
    Column("errors", 3),
    Column("calls A", 5),
    Column("calls B", 5),
]


def compared(found: Mapping[str, Any]) -> RenderableType:
    """What ``shmperf diff`` shows."""
    tools: Mapping[str, Mapping[str, Any]] = found["tools"]
    if not tools:
        return Text("no calls on either side")
    rows = in_order(tools)
    table = Columns(_COLUMNS, (list(_row(tool, one)) for tool, one in rows))
    parts: list[RenderableType] = [_headline(rows), table, Text("; ".join(_SAYS), "dim")]
    parts += [Text(f"failed: {printable(one['text'])}", "red") for one in found.get("failed", ())]
    return Group(*parts)


def in_order(
    tools: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, Mapping[str, Any]]]:
    """What got slower first, and of the same verdict what has moved most."""
    return sorted(tools.items(), key=_order)


def _headline(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Text:
    counts = {verdict: sum(one["verdict"] == verdict for _, one in rows) for verdict in _VERDICTS}
    said = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items() if count)
    many = "1 tool" if len(rows) == 1 else f"{len(rows):,} tools"
    return Text(f"{many}: {said}", "bold")


def _order(row: tuple[str, Mapping[str, Any]]) -> tuple[int, float]:
    verdict = row[1]["verdict"]
    return list(_VERDICTS).index(verdict), -_size(row[1]["change"])


def _size(change: Mapping[str, Any]) -> float:
    """How far the figure that has moved most is off."""
    ratios = [one["ratio"] for name in ("p50", "p95") if (one := change[name]) is not None]
    return max((max(ratio, 1 / ratio) for ratio in ratios), default=0.0)


def _row(tool: str, one: Mapping[str, Any]) -> Iterator[Any]:
    a, b, change, verdict = one["a"] or {}, one["b"] or {}, one["change"], one["verdict"]
    yield printable(tool, _LONGEST_NAME)
    yield Text(verdict, _VERDICTS[verdict])
    yield duration(a.get("p50_s"))
    yield duration(b.get("p50_s"))
    for name in ("p50", "p95", "p99"):
        yield _ratio(change[name])
    yield _points(change["error_rate"])
    yield _count(a)
    yield _count(b)


def _count(side: Mapping[str, Any]) -> str:
    return f"{side['calls']:,}" if side else "–"


def _ratio(change: Mapping[str, Any] | None) -> str:
    if change is None:
        return "–"
    return change_text(change["ratio"], change["low"], change["high"])


def _points(change: Mapping[str, Any] | None) -> str:
    if change is None or not change["difference"]:
        return "–" if change is None else "="
    return f"{change['difference'] * 100:+.2f} points"
