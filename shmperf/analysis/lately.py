"""
Calls drained a while ago: whose child each was, and when, for the few questions that look back.

Hardly any call is ever asked for: `roots` asks for the parents of kept calls, `branches` for what
lay below an exemplar. So calls stay columns, as they were drained, and only columns that somebody
looks into become tables. Of a batch in which nobody has a parent the ids alone are remembered.

    batch ──► columns of a few thousand calls ──► let go, the oldest first
                  └── looked into ──► tables: id ─► parent, parent ─► places of its children
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

__all__ = ["Columns", "Lately", "Node"]

# Small batches are put together, so that few tables are looked at.
_BATCH = 4_096
_MOST = 65_536


class Node(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A call below another; its start is on the clock of its parent's."""

    id: int
    parent: int
    tool: str
    start_ns: int
    duration_ns: int


class Columns:
    """Drained calls, of any tools: what batches have as columns."""

    __slots__ = ("are_nested", "chunks", "count")

    def __init__(self) -> None:
        self.count = 0
        # Whether one of them has a parent.
        self.are_nested = False
        # Of calls of one tool: ids, parents, starts and ends.
        self.chunks: list[tuple[str, Sequence[Sequence[int]]]] = []

    def add(self, tool: str, columns: Sequence[Sequence[int]], *, are_nested: bool) -> None:
        """
        Calls of *tool*: *columns* are ids, parents, starts and ends.

        *are_nested* says whether one of them has a parent.
        """
        self.chunks.append((tool, columns))
        self.are_nested = self.are_nested or are_nested
        self.count += len(columns[0])


class _Tops:
    """Calls without a parent."""

    __slots__ = ("_known", "_noted", "ids")

    def __init__(self) -> None:
        self.ids = array("Q")
        self._known: set[int] = set()
        self._noted = 0

    def __contains__(self, call_id: int) -> bool:
        if self._noted < len(self.ids):
            self._known.update(self.ids[self._noted :])
            self._noted = len(self.ids)
        return call_id in self._known


class _Nested:
    """Calls that mostly have a parent."""

    __slots__ = (
        "_listed",
        "_noted",
        "_parents",
        "_places",
        "ends",
        "ids",
        "parents",
        "starts",
        "tools",
    )

    def __init__(self) -> None:
        self.ids, self.parents = array("Q"), array("Q")
        self.starts, self.ends = array("Q"), array("Q")
        self.tools: list[str] = []
        # Tables, and how far the columns are in each.
        self._parents: dict[int, int] = {}
        self._places: dict[int, list[int]] = {}
        self._noted = self._listed = 0

    def add(self, calls: Columns) -> None:
        for tool, (ids, parents, starts, ends) in calls.chunks:
            _extend(self.ids, ids)
            _extend(self.parents, parents)
            _extend(self.starts, starts)
            _extend(self.ends, ends)
            self.tools += [tool] * len(ids)

    def parent_of(self, call_id: int) -> int | None:
        if self._noted < len(self.ids):
            ids, parents = self.ids[self._noted :], self.parents[self._noted :]
            self._parents.update(zip(ids, parents, strict=True))
            self._noted = len(self.ids)
        return self._parents.get(call_id)

    def children_of(self, call_id: int) -> list[Node]:
        for place in range(self._listed, len(self.parents)):
            if self.parents[place]:
                self._places.setdefault(self.parents[place], []).append(place)
        self._listed = len(self.parents)
        return [self._node(place) for place in self._places.get(call_id, ())]

    def has_ended_after(self, start_ns: int) -> bool:
        # The last to be stored is mostly the last to end: all are looked at only where it is not.
        return self.ends[-1] >= start_ns or max(self.ends) >= start_ns if self.ends else False

    def _node(self, place: int) -> Node:
        start_ns, end_ns = self.starts[place], self.ends[place]
        tool, duration_ns = self.tools[place], max(0, end_ns - start_ns)
        return Node(self.ids[place], self.parents[place], tool, start_ns, duration_ns)


class Lately:
    """The calls drained last; pure, one thread."""

    def __init__(self, most: int = _MOST, batch: int = _BATCH) -> None:
        """
        Remember at least *most* calls with a parent and as many without.

        Those of *batch* or so are let go together.
        """
        # Calls that began before this may have children that are not here.
        self.horizon_ns = 0
        self._most = most
        self._batch = batch
        self._tops: deque[_Tops] = deque([_Tops()])
        self._nested: deque[_Nested] = deque([_Nested()])
        self._top_count = self._nested_count = 0

    def add(self, calls: Columns) -> None:
        """Remember *calls*, as they were drained."""
        if calls.are_nested:
            self._add_nested(calls)
        else:
            self._add_tops(calls)

    def parent_of(self, call_id: int) -> int | None:
        """The parent of a remembered call, 0 for none; None when it is not remembered."""
        for nested in reversed(self._nested):
            found = nested.parent_of(call_id)
            if found is not None:
                return found
        return 0 if any(call_id in tops for tops in reversed(self._tops)) else None

    def since(self, start_ns: int) -> Callable[[int], list[Node]]:
        """What tells the children of a call, of those that ended after *start_ns*."""
        nested = [one for one in self._nested if one.has_ended_after(start_ns)]
        return lambda call_id: [node for one in nested for node in one.children_of(call_id)]

    def _add_nested(self, calls: Columns) -> None:
        if len(self._nested[-1].ids) >= self._batch:
            self._nested.append(_Nested())
        self._nested[-1].add(calls)
        self._nested_count += calls.count
        while self._nested_count - len(self._nested[0].ids) >= self._most:
            gone = self._nested.popleft()
            self._nested_count -= len(gone.ids)
            self.horizon_ns = max(self.horizon_ns, gone.ends[-1])

    def _add_tops(self, calls: Columns) -> None:
        if len(self._tops[-1].ids) >= self._batch:
            self._tops.append(_Tops())
        for _, columns in calls.chunks:
            _extend(self._tops[-1].ids, columns[0])
        self._top_count += calls.count
        while self._top_count - len(self._tops[0].ids) >= self._most:
            self._top_count -= len(self._tops.popleft().ids)


def _extend(words: array[int], more: Sequence[int]) -> None:
    """*words* by *more*: a copy where these are words as well."""
    if type(more) is array:
        words.extend(more)
    else:
        # In a third of the time that `extend` takes.
        words.fromlist(more if type(more) is list else list(more))
