"""
Which trace a call belongs to: the root above it, found as calls are drained.

A child mostly ends before its parent, so when it is drained its ancestors are open calls, whose
rows name their parents, or calls that were drained a moment ago, which are remembered here:

    call ─parent─► open row ─parent─► drained a moment ago ─parent─► 0, or a context from elsewhere:
                │                                                    that one is the root
                └─► neither open nor remembered: the root can't be known

A call whose root can't be known (its ancestor was lost, or drained long ago) belongs to no trace
but its own. A wrong root would be worse than none: ids are unique, and nothing here guesses.

Nobody asks for the root of a call that is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from shmperf.shm.remote import is_remote

from .lately import Lately

__all__ = ["Root", "Roots"]

# The id of a root, and the context from elsewhere that it began under; 0 for none.
Root = tuple[int, int]

# Deeper than any stack of calls in Python; a damaged table may hold a circle.
_MOST_STEPS = 1_000


class Roots:
    """The roots above calls, by what was drained *lately*; pure, one thread."""

    def __init__(self, lately: Lately) -> None:
        self._lately = lately

    def of(
        self, calls: Iterable[tuple[int, int]], opened: Callable[[int], int | None]
    ) -> dict[int, Root]:
        """
        The root of each of *calls*, pairs of id and parent; those that can't be known are left out.

        *opened* tells the parent of an open call by its id, None of another one.
        """
        known: dict[int, Root] = {}
        for call_id, parent in calls:
            root = self._root(call_id, parent, opened, known)
            if root is not None:
                known[call_id] = root
        return known

    def _root(
        self,
        call_id: int,
        parent: int,
        opened: Callable[[int], int | None],
        known: Mapping[int, Root],
    ) -> Root | None:
        for _ in range(_MOST_STEPS):
            if not parent or is_remote(parent):
                return call_id, parent
            if parent in known:
                return known[parent]
            above = opened(parent)
            if above is None:
                above = self._lately.parent_of(parent)
            if above is None:
                return None
            call_id, parent = parent, above
        return None
