"""
Which trace a call belongs to: the root above it, found as calls are drained.

A child mostly ends before its parent, so when it is drained its ancestors are open calls, whose
rows name their parents, or calls that were drained a moment ago, which are remembered here:

    call ─parent─► open row ─parent─► drained a moment ago ─parent─► 0: that one is the root
                └─► neither open nor remembered: the root can't be known

A call whose root can't be known (its ancestor was lost, or drained long ago) belongs to no trace
but its own. A wrong root would be worse than none: ids are unique, and nothing here guesses.

Nobody asks for the root of a call that is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .lately import Lately

__all__ = ["Roots"]

# Deeper than any stack of calls in Python; a damaged table may hold a circle.
_MOST_STEPS = 1_000


class Roots:
    """The roots above calls, by what was drained *lately*; pure, one thread."""

    def __init__(self, lately: Lately) -> None:
        self._lately = lately

    def of(self, calls: Iterable[tuple[int, int]], opened: Mapping[int, int]) -> dict[int, int]:
        """
        The root of each of *calls*, pairs of id and parent; those that can't be known are left out.

        *opened* maps the ids of open calls to their parents.
        """
        known: dict[int, int] = {}
        for call_id, parent in calls:
            root = self._root(call_id, parent, opened, known)
            if root:
                known[call_id] = root
        return known

    def _root(
        self, call_id: int, parent: int, opened: Mapping[int, int], known: Mapping[int, int]
    ) -> int:
        for _ in range(_MOST_STEPS):
            if not parent:
                return call_id
            if parent in known:
                return known[parent]
            above = opened.get(parent)
            if above is None:
                above = self._lately.parent_of(parent)
            if above is None:
                return 0
            call_id, parent = parent, above
        return 0
