"""
The families of a tree: what is known of the children of calls that are open or not yet settled.

By the parent's id: rows as they came, and beyond a few rows their sum. Which of them have changed
since that was last told is known here, too; one that was told and then taken is told as removed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import islice, repeat
from typing import NamedTuple, TypeAlias

import msgspec

from shmperf.compiled.chosen import hot

from .children import Child, Family, Tools, add_up
from .treestate import Chunk, Columns, Record, Settled

__all__ = ["Bounds", "Counts", "Families", "SettledHere", "WrittenFamily"]

# The rows that are no part of the sum, and the sum.
WrittenFamily: TypeAlias = tuple[list[Child], Family | None]
# A call's tool and record, for who settles it.
SettleOne: TypeAlias = Callable[[str, Record], Settled | None]
# For an edge of the graph: parent, tool, calls, total and own time.
Counts: TypeAlias = tuple[str | None, str, int, int, int]
# The compiled path has rows in words: what can be said of a list of them can be said of these, but
# that a number that is no word is an OverflowError.
_new_rows: Callable[[], list[Child]] = list if hot is None else hot.Children


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much a tree may hold; what exceeds it is let go and counted."""

    families: int = 100_000
    ids: int = 1_000
    spans: int = 128
    edges: int = 65_536
    remembered: int = 65_536
    rows: int = 65_536
    crowd: int = 8


class SettledHere(NamedTuple):
    """What `Families.settle_words` has done: *settled* holds rows of `Settled`, or these."""

    settled: list[Settled | tuple[int, list[int], dict[str, tuple[int, int]], int]]
    # As `CallTree.covered` has it.
    covered: list[tuple[str, int, int]]


class Families:
    """
    At most *bounds* of families, ids and intervals. One thread.

    ``rows`` has an entry for each family: who asks for many looks there.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.rows: defaultdict[int, list[Child]] = defaultdict(_new_rows)
        self._bounds = bounds
        self._sums: dict[int, Family] = {}
        self._rows_since_fold = 0
        self._changed: set[int] = set()
        self._removed: list[int] = []
        self._told: set[int] = set()

    def add(self, tool: str, columns: Columns) -> tuple[int, int]:
        """
        Take children of *tool*, as columns: ids, parents, starts and ends, none before its start.

        Returns how many have no parent (it is 0), and their time.
        """
        ids, parents, starts, ends = columns
        if not any(parents):
            return len(ids), sum(ends) - sum(starts)
        self._rows_since_fold += len(ids)
        children = zip(starts, ends, ids, repeat(tool), strict=False)
        if hot is None:
            rows = self.rows
            for parent, row in zip(parents, children, strict=False):
                rows[parent].append(row)
        else:
            for parent, row in zip(parents, children, strict=False):
                _append(self.rows, parent, row)
        self._changed.update(parents)
        self._changed.discard(0)
        roots = self.rows.pop(0, ())
        return len(roots), sum([end - start for start, end, _, _ in roots])

    def add_words(self, tool: str, columns: Columns) -> tuple[int, int] | None:
        """The same on the compiled path; None, and nothing done, where `add` has to do it."""
        if hot is None:
            return None
        ids, parents, starts, ends = columns
        found: tuple[int, int] | None = hot.add_children(
            self.rows, self._changed, tool, parents, starts, ends, ids
        )
        if found is not None and found[0] < len(ids):
            self._rows_since_fold += len(ids)
        return found

    def settle_words(
        self,
        chunks: list[Chunk],
        wanted: Container[int] | None,
        edges: list[Counts],
        others: SettleOne,
    ) -> SettledHere | None:
        """
        On the compiled path: settle the calls in *chunks*, what is not simple by *others*.

        *edges* gets what is to be counted, before *others* is called what comes before it. None,
        and nothing done, where Python has to do it.
        """
        if hot is None:
            return None
        most = self._bounds.ids
        found = hot.settle(self.rows, self._sums, chunks, wanted, most, edges, others)
        if found is None:
            return None
        settled, covered, gone, changed = found
        self._changed.update(changed)
        if self._told:
            told = self._told.intersection(gone)
            self._told -= told
            self._removed += told
        return SettledHere(settled, covered)

    def cover(self, parent: int, tool: str, covered_ns: int) -> None:
        """Take so much off the own time with which a child of *tool* was counted."""
        _append(self.rows, parent, (0, covered_ns, 0, tool))
        self._changed.add(parent)

    def pop(self, call_id: int) -> WrittenFamily:
        """Hand a family over: its rows, none where there is no such family, and its sum."""
        if call_id in self._told:
            self._told.discard(call_id)
            self._removed.append(call_id)
        return list(self.rows.pop(call_id, ())), self._sums.pop(call_id, None)

    def pop_tools(self, call_id: int) -> Tools:
        """Let a family go: what its children were, by tool."""
        return _tools_of(*self.pop(call_id))

    def tools(self, call_id: int) -> Tools:
        """What the children of a family were, by tool; nothing of it is shared."""
        return _tools_of(self.rows.get(call_id, []), self._sums.get(call_id))

    def ids(self, call_id: int) -> list[int]:
        """The first ids of a family, as many as it may have."""
        family = self._sums.get(call_id)
        first = family.ids if family is not None else []
        ids = [*first, *(row[2] for row in self.rows.get(call_id, []) if row[2])]
        return ids[: self._bounds.ids]

    def children(self) -> Iterator[tuple[int, Child]]:
        """The children that are known one by one, each behind its parent."""
        for parent, rows in self.rows.items():
            yield from ((parent, row) for row in rows if row[2])

    def written(self, ids: Iterable[int]) -> dict[int, WrittenFamily]:
        """Those families; nothing of it is shared."""
        return {call_id: self._copy(call_id) for call_id in ids}

    def take_change(self) -> tuple[dict[int, WrittenFamily], list[int], int]:
        """Families changed since the last time, ids of removed ones, and how much was let go."""
        changed = self._changed & self.rows.keys()
        let_go = self._fold_crowds(changed)
        removed, self._removed = self._removed, []
        self._changed = set()
        self._told |= changed
        return self.written(changed), removed, let_go

    def apply(self, families: dict[int, WrittenFamily], removed: Iterable[int]) -> None:
        """Make a change that `take_change` told; it is taken over, and there is none to tell."""
        for call_id in removed:
            self.rows.pop(call_id, None)
            self._sums.pop(call_id, None)
        for call_id, (rows, family) in families.items():
            self.rows[call_id] = rows
            if family is not None:
                self._sums[call_id] = family
            else:
                self._sums.pop(call_id, None)
        self._told = set(self.rows)
        self._changed, self._removed = set(), []

    def fold_when_due(self) -> int:
        """Once many rows have come, make sums of crowds; returns how much was let go."""
        if self._rows_since_fold < self._bounds.rows:
            return 0
        self._rows_since_fold = 0
        return self._fold_crowds(list(self.rows))

    def surplus(self) -> list[int]:
        """Those to be let go for want of room: whose children have come the longest time ago."""
        bounds = self._bounds
        if len(self.rows) <= bounds.families:
            return []
        # A tenth at once: the front of a dict is slow to find after single removals.
        return list(islice(self.rows, len(self.rows) - bounds.families + bounds.families // 10))

    def forget_changes(self) -> None:
        """Let changes of families go that are there no more, once there are many."""
        if len(self._changed) > 2 * self._bounds.families:
            self._changed &= self.rows.keys()

    def clear(self) -> None:
        """Forget all of them, and their changes."""
        self.rows.clear()
        self._sums.clear()
        self._told.clear()
        self._rows_since_fold = 0
        self._changed, self._removed = set(), []

    def _fold_crowds(self, ids: Iterable[int]) -> int:
        crowd, rows = self._bounds.crowd, self.rows
        return sum([self._fold(i) for i in ids if len(rows[i]) >= crowd])

    def _fold(self, call_id: int) -> int:
        """Make a sum of a family's rows; returns how much was let go."""
        family = self._sums.get(call_id)
        if family is None:
            family = self._sums[call_id] = Family()
        # A parent that is busy moves behind those of which nothing comes any more.
        rows = list(self.rows.pop(call_id))
        self.rows[call_id] = _new_rows()
        self._changed.add(call_id)
        return family.take(rows, self._bounds.ids, self._bounds.spans)

    def _copy(self, call_id: int) -> WrittenFamily:
        family = self._sums.get(call_id)
        return list(self.rows[call_id]), family.copy() if family is not None else None


def _append(rows: dict[int, list[Child]], parent: int, row: Child) -> None:
    try:
        rows[parent].append(row)
    except OverflowError:
        rows[parent] = [*rows[parent], row]


def _tools_of(rows: list[Child], family: Family | None) -> Tools:
    return add_up(rows, family.copy().tools if family is not None else {})
