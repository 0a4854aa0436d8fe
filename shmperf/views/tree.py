"""The tree of tools: which calls which, how often, how long, and which of them takes the time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from .columns import Column, Columns
from .formatting import duration, printable
from .spark import bar

__all__ = ["call_tree"]

_LONGEST_NAME = 60
_BAR = 10
_DEEPEST = 12
_MOST_ROWS = 1_000
_COLUMNS = (
    Column("tool", 0, 12, is_text=True),
    Column("share of own time", 1, is_text=True),
    Column("own", 2),
    Column("calls", 3),
    Column("total", 4),
    Column("p50", 6),
    Column("p95", 5),
    Column("p99", 7),
)
_SAYS = "own: without the calls beneath; percentiles: of all calls of the tool, whoever calls it"
_Edge = Mapping[str, Any]
_Below = Mapping[str | None, list[_Edge]]


def call_tree(
    edges: Iterable[_Edge], tools: Mapping[str, Mapping[str, Any]] | None = None
) -> RenderableType:
    """
    Which tool calls which: calls, total and own time, the costliest first.

    *tools* has the statistics of each, for percentiles.
    """
    below: dict[str | None, list[_Edge]] = {}
    for edge in edges:
        below.setdefault(edge["parent"], []).append(edge)
    if not below:
        return Text("no calls yet")
    rows = _Rows(below, tools or {}).all()
    parts: list[RenderableType] = [Columns(_COLUMNS, islice(rows, _MOST_ROWS))]
    if next(rows, None) is not None:
        parts.append(Text(f"the first {_MOST_ROWS:,} lines; --json has each edge once", "yellow"))
    return Group(*parts, Text(_SAYS, "dim"))


class _Rows:
    """Lines of the tree, from the tops down."""

    def __init__(self, below: _Below, tools: Mapping[str, Mapping[str, Any]]) -> None:
        self._below = below
        self._tools = tools
        self._own_ns = sum(_own_ns(edge) for edges in below.values() for edge in edges) or 1

    def all(self) -> Iterator[list[str | Text]]:
        """Every line, with what is called from nowhere here behind the tops."""
        tops = self._below.get(None, [])
        for edge in tops:
            yield from self._grown(edge, ("", ""), (edge["tool"],))
        reached = {edge["tool"] for edge in tops}
        for parent, edges in self._below.items():
            # Parents that are not called from anywhere here: still open, or let go.
            if parent is not None and not self._is_reached(parent, reached):
                reached.add(parent)
                yield self._bare("", f"{printable(parent, _LONGEST_NAME)} (open)", "yellow")
                yield from self._children(edges, "", (parent,))

    def _is_reached(self, parent: str, reached: set[str]) -> bool:
        frontier = list(reached)
        while frontier:
            for edge in self._below.get(frontier.pop(), ()):
                if edge["tool"] not in reached:
                    reached.add(edge["tool"])
                    frontier.append(edge["tool"])
        return parent in reached

    def _grown(
        self, edge: _Edge, lead: tuple[str, str], path: tuple[str, ...]
    ) -> Iterator[list[str | Text]]:
        first, rest = lead
        yield self._row(edge, first)
        yield from self._children(self._below.get(edge["tool"], ()), rest, path)

    def _children(
        self, edges: Iterable[_Edge], rest: str, path: tuple[str, ...]
    ) -> Iterator[list[str | Text]]:
        edges = [edge for edge in edges if edge["tool"] in path or len(path) < _DEEPEST]
        for number, edge in enumerate(edges, 1):
            is_last = number == len(edges)
            branch, stem = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
            if edge["tool"] in path:
                name = f"{printable(edge['tool'], _LONGEST_NAME)} (again)"
                yield self._bare(rest + branch, name, "dim")
            else:
                lead = rest + branch, rest + stem
                yield from self._grown(edge, lead, (*path, edge["tool"]))

    def _row(self, edge: _Edge, prefix: str) -> list[str | Text]:
        own_ns = _own_ns(edge)
        known = self._tools.get(edge["tool"], {})
        return [
            Text(prefix, "dim").append(printable(edge["tool"], _LONGEST_NAME) or '""', "bold"),
            _share(own_ns / self._own_ns),
            duration(own_ns / 1e9),
            f"{edge['calls']:,}",
            duration(edge["total_ns"] / 1e9),
            *(duration(known.get(key)) for key in ("p50_s", "p95_s", "p99_s")),
        ]

    def _bare(self, prefix: str, name: str, style: str) -> list[str | Text]:
        return [Text(prefix, "dim").append(name, style), *[""] * (len(_COLUMNS) - 1)]


def _own_ns(edge: _Edge) -> int:
    own_ns: int = edge["own_ns"]
    return max(0, own_ns)


def _share(share: float) -> Text:
    """A bar, and the share in words, as a screen reader has it."""
    return Text(bar(share, _BAR), "cyan").append(f"{share:5.0%}", "default")
