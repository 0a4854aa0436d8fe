"""The tree of tools: which calls which, with calls, total and own time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from .formatting import duration, printable

__all__ = ["call_tree"]

_LONGEST_NAME = 60


def call_tree(edges: Iterable[Mapping[str, Any]]) -> RenderableType:
    """Which tool calls which: calls, total and own time, the costliest first."""
    below: dict[str | None, list[Mapping[str, Any]]] = {}
    for edge in edges:
        below.setdefault(edge["parent"], []).append(edge)
    if not below:
        return Text("no calls yet")
    top = Tree(Text("calls · total time · own time, without the calls beneath", "dim"))
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
    text = Text(printable(edge["tool"], _LONGEST_NAME), "bold", no_wrap=True, overflow="ellipsis")
    total, own = edge["total_ns"] / 1e9, max(0, edge["own_ns"]) / 1e9
    text.append(f"  {edge['calls']:,} · {duration(total)} · {duration(own)}", "default")
    grown = branch.add(text)
    for child in below.get(edge["tool"], ()):
        if child["tool"] in path:
            grown.add(Text(f"{printable(child['tool'], _LONGEST_NAME)} (again)", "dim"))
        elif len(path) < 12:
            _grow(grown, child, below, (*path, child["tool"]))
