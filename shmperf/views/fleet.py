"""What people read of a fleet: its nodes in a table, and statistics with what each has of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from . import terminal
from .columns import Column, Columns
from .formatting import duration, printable

__all__ = ["nodes", "stats"]

_LONGEST_NAME = 40
_ORIGIN = 8
_STYLES = {
    "up": "green",
    "ended": "",
    "collected": "",
    "silent": "yellow",
    "gone": "red",
    "unreadable": "red",
}
_STATES = tuple(_STYLES)
_NODE = Column("node", 0, 12, is_text=True)
_SAYS = (
    "age: since its last word, by the broker's clock; waiting: not published yet; "
    "dropped: never will be; storage: which one of the node's"
)


def nodes(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Every node and storage that has published, how it is, and its books."""
    if not rows:
        return Text("no node has published yet")
    columns = [
        _NODE,
        Column("storage", 9, is_text=True),
        Column("state", 0, is_text=True),
        Column("age", 1),
        Column("workers", 6),
        Column("calls/s", 5),
        Column("begun", 2),
        Column("calls", 7),
        Column("lost", 3),
        Column("waiting", 4),
        Column("dropped", 3),
    ]
    problems = [
        Text(f"{printable(row['node'], _LONGEST_NAME)}: {printable(row['problem'], 300)}", "yellow")
        for row in rows
        if row["problem"]
    ]
    table = Columns(columns, map(_node, rows))
    return Group(table, *problems[:20], Text(_SAYS, "dim"))


def _node(row: Mapping[str, Any]) -> list[str | Text]:
    lost = sum(row["lost"].values())
    return [
        Text(printable(row["node"], _LONGEST_NAME), "bold"),
        printable(row["origin"][:_ORIGIN]),
        Text(row["state"], _STYLES.get(row["state"], "")),
        _age(row["age_s"]),
        f"{row['workers']:,}",
        _rate(row["rate"]),
        f"{row['begun']:,}",
        f"{row['total_calls']:,}",
        _count(lost, "red"),
        _count(row["waiting"], "yellow"),
        _count(row["dropped"], "red"),
    ]


def _rate(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def _count(count: int, style: str) -> Text:
    return Text(f"{count:,}", style if count else "dim")


def _age(seconds: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def stats(found: Mapping[str, Any]) -> RenderableType:
    """Tools with their figures, the books, and who has them."""
    if "tool_stats" in found:
        # Why not complete is said by the nodes.
        shown = terminal.stats({**found, "complete": True})
        return Group(shown, _who(found["nodes"], is_complete=found["complete"]))
    columns = [
        _NODE,
        Column("calls", 1),
        Column("p50", 3),
        Column("p95", 4),
        Column("errors", 2),
        Column("aborted", 5),
        Column("storage", 9, is_text=True),
    ]
    table = Columns(columns, map(_of_tool, found["nodes"]))
    return Group(terminal.stats(found), table)


def _of_tool(row: Mapping[str, Any]) -> list[str | Text]:
    return [
        Text(printable(row["node"], _LONGEST_NAME), "bold"),
        f"{row['count']:,}",
        duration(row["p50_s"]),
        duration(row["p95_s"]),
        _count(row["errors"], "red"),
        _count(row["aborted"], "yellow"),
        printable(row["origin"][:_ORIGIN]),
    ]


def _who(rows: Sequence[Mapping[str, Any]], *, is_complete: bool) -> Text:
    """How many nodes there are, and how they are."""
    states = Counter(row["state"] for row in rows)
    parts = [f"{states[state]:,} {state}" for state in _STATES if states[state]]
    names = len({row["node"] for row in rows})
    line = Text(f"{names:,} node{'s' * (names != 1)}: {', '.join(parts) or 'none yet'}")
    if not is_complete:
        why = [state for state in ("silent", "gone", "unreadable") if states[state]]
        said = f"of nodes that are {' or '.join(why)} the last calls may be missing"
        line.append(f"; not complete: {said if why else 'some node could not tell all'}", "yellow")
    return line
