"""
What lies below a call, from the top down, when it has settled: of the few that somebody looks at.

A tree is cut where it is too large, where calls below have been let go, and where they were drained
before anybody here was there to remember them.
"""

from __future__ import annotations

from typing import NamedTuple

from .lately import Lately, Node

__all__ = ["Tree", "below"]


class Tree(NamedTuple):
    """The calls below one, level by level; *is_cut* when some are missing."""

    nodes: list[Node]
    is_cut: bool


def below(lately: Lately, call_id: int, start_ns: int, most: int) -> Tree:
    """At most *most* calls below the one that began at *start_ns*, the nearest first."""
    # A child ends after its parent has begun.
    children_of = lately.since(start_ns)
    nodes: list[Node] = []
    level, is_cut = [call_id], start_ns < lately.horizon_ns
    while level:
        found = [node for parent in level for node in children_of(parent)]
        found.sort(key=_by_start)
        room = most - len(nodes)
        is_cut = is_cut or len(found) > room
        del found[room:]
        nodes += found
        level = [node.id for node in found]
    return Tree(nodes, is_cut)


def _by_start(node: Node) -> tuple[int, int]:
    return node.start_ns, node.id
