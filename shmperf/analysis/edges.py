"""The graph from tool to tool: how many calls, how much time, and what of it has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from .children import MOST_NS, Tools, bounded
from .treestate import Edge

__all__ = ["EdgeKey", "Edges"]

EdgeKey: TypeAlias = tuple[str | None, str]


class Edges:
    """At most *most* edges, by parent and tool; None is no parent, or one that is not known."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._edges: dict[EdgeKey, Edge] = {}
        self._changed: set[EdgeKey] = set()

    def __len__(self) -> int:
        return len(self._edges)

    def __iter__(self) -> Iterator[Edge]:
        return iter(self._edges.values())

    def count(self, parent: str | None, tool: str, calls: int, total_ns: int, own_ns: int) -> int:
        """Count calls; how many of them are let go for want of room."""
        key = parent, tool
        edge = self._edges.get(key)
        if edge is None:
            if len(self._edges) >= self._most:
                return calls
            edge = self._edges[key] = Edge(parent, tool)
        edge.calls += calls
        total_ns += edge.total_ns
        own_ns += edge.own_ns
        # In one comparison each: hardly any is beyond.
        edge.total_ns = total_ns if -MOST_NS < total_ns < MOST_NS else bounded(total_ns)
        edge.own_ns = own_ns if -MOST_NS < own_ns < MOST_NS else bounded(own_ns)
        self._changed.add(key)
        return 0

    def count_tools(self, parent: str | None, tools: Tools) -> int:
        """Count children of *parent*, by their tools; as `count`."""
        return sum([self.count(parent, child, *counts) for child, counts in tools.items()])

    def copies(self) -> dict[EdgeKey, Edge]:
        """Nothing of it is shared."""
        return {key: edge.copy() for key, edge in self._edges.items()}

    def take_changed(self) -> list[Edge]:
        """Copies of those that have changed since they were last asked for."""
        changed = [self._edges[key].copy() for key in self._changed]
        self._changed.clear()
        return changed

    def put(self, edge: Edge) -> None:
        """Take over an edge as it is; that is no change to be told."""
        self._edges[edge.parent, edge.tool] = edge

    def clear(self) -> None:
        """Forget them all, and their changes."""
        self._edges.clear()
        self._changed.clear()
