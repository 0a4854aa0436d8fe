"""
Which trace a call belongs to: the root above it, found as calls are drained.

A child mostly ends before its parent, so when it is drained its ancestors are open calls, whose
rows name their parents, or calls that were drained a moment ago, which are remembered here:

    call ─parent─► open row ─parent─► drained a moment ago ─parent─► 0: that one is the root
                └─► neither open nor remembered: the root can't be known

A call whose root can't be known (its ancestor was lost, or drained long ago) belongs to no trace
but its own. A wrong root would be worse than none: ids are unique, and nothing here guesses.

Nobody asks for the root of a call that is not kept, so what is remembered stays columns, as they
were drained, and becomes a table only when a kept call has a parent that is not open.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Roots"]

# Deeper than any stack of calls in Python; a damaged table may hold a circle.
_MOST_STEPS = 1_000
# Small batches are put together, so that few tables are looked at.
_BATCH = 4_096


class _Drained:
    """Ids and parents of some calls, as columns; a table once somebody asks."""

    __slots__ = ("_table", "ids", "parents")

    def __init__(self) -> None:
        self.ids = array("Q")
        self.parents = array("Q")
        self._table: dict[int, int] | None = None

    def add(self, ids: Sequence[int], parents: Sequence[int]) -> None:
        self.ids.extend(ids)
        self.parents.extend(parents)
        if self._table is not None:
            self._table.update(zip(ids, parents, strict=True))

    def parent_of(self, call_id: int) -> int | None:
        if self._table is None:
            self._table = dict(zip(self.ids, self.parents, strict=True))
        return self._table.get(call_id)


class Roots:
    """The parents of calls drained lately; pure, one thread."""

    def __init__(self, most: int = 65_536, batch: int = _BATCH) -> None:
        """Remember at least *most* calls; those of *batch* or so are forgotten together."""
        self._most = most
        self._batch = batch
        self._drained: deque[_Drained] = deque([_Drained()])
        self._count = 0

    def add(self, ids: Sequence[int], parents: Sequence[int]) -> None:
        """Remember drained calls: *parents* beside *ids*, 0 for none."""
        if len(self._drained[-1].ids) >= self._batch:
            self._drained.append(_Drained())
        self._drained[-1].add(ids, parents)
        self._count += len(ids)
        while self._count - len(self._drained[0].ids) >= self._most:
            self._count -= len(self._drained.popleft().ids)

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
                above = self._parent_of(parent)
            if above is None:
                return 0
            call_id, parent = parent, above
        return 0

    def _parent_of(self, call_id: int) -> int | None:
        """The parent of a remembered call; the newest are looked at first."""
        for drained in reversed(self._drained):
            found = drained.parent_of(call_id)
            if found is not None:
                return found
        return None
