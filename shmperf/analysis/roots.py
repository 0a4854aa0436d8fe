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

from collections.abc import Callable, Iterable

from shmperf.shm.remote import is_remote

from .lately import Lately

__all__ = ["Root", "Roots"]

# The id of a root, and the context from elsewhere that it began under; 0 for none.
Root = tuple[int, int]


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
        # What was walked over, too: each call's way is gone once, however deep calls lie.
        known: dict[int, Root | None] = {}
        found = {}
        for call_id, parent in calls:
            root = self._root(call_id, parent, opened, known)
            if root is not None:
                found[call_id] = root
        return found

    def _root(
        self,
        call_id: int,
        parent: int,
        opened: Callable[[int], int | None],
        known: dict[int, Root | None],
    ) -> Root | None:
        root, way = None, [call_id]
        while parent and not is_remote(parent):
            if parent in known:
                root = known[parent]
                break
            above = opened(parent)
            if above is None:
                above = self._lately.parent_of(parent)
            if above is None:
                break
            # Until its root is found it has none: a damaged table may hold a circle.
            known[parent] = None
            way.append(parent)
            call_id, parent = parent, above
        else:
            root = call_id, parent
        known.update(dict.fromkeys(way, root))
        return root
