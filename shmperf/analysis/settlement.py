"""
One turn of settling: what the children of calls were is counted, and taken off their own time.

The compiled path settles what is simple, which is nearly all; one that is not, and all others in
Python, comes here one by one.
"""

from __future__ import annotations

from collections.abc import Container
from itertools import compress

from .children import settled_tools, sum_of
from .edges import Edges
from .families import Bounds, Counts, Families
from .treestate import Chunk, Record, Settled

__all__ = ["Settlement"]


class Settlement:
    """
    Settles calls that have families; a turn each.

    ``covered`` is as a tree has it, ``let_go`` what was let go for want of room.
    """

    def __init__(
        self, families: Families, edges: Edges, bounds: Bounds, wanted: Container[int] | None
    ) -> None:
        """Which calls have settled is told of those *wanted*; None for all."""
        self.covered: list[tuple[str, int, int]] = []
        self.let_go = 0
        self._families = families
        self._edges = edges
        self._bounds = bounds
        self._wanted = wanted
        # What was counted in C, and has to go to the graph.
        self._counted: list[Counts] = []

    def settle(self, chunks: list[Chunk]) -> list[Settled]:
        """Those of *chunks* that have a family; returns what they are, children before parents."""
        here = self._families.settle_words(chunks, self._wanted, self._counted, self._settle)
        if here is None:
            return self._settle_all(chunks)
        self._count()
        self.covered += here.covered
        return [one if isinstance(one, Settled) else Settled(*one) for one in here.settled]

    def _settle_all(self, chunks: list[Chunk]) -> list[Settled]:
        has_family = self._families.rows.__contains__
        parents = [
            (record[3], -record[2], tool, record)
            for tool, columns in chunks
            for record in compress(zip(*columns, strict=True), map(has_family, columns[0]))
        ]
        # By end: a child's own time is known before its parent asks for it.
        parents.sort()
        found = [self._settle(tool, record) for _, _, tool, record in parents]
        return [one for one in found if one is not None]

    def _settle(self, tool: str, record: Record) -> Settled | None:
        if self._counted:
            self._count()
        call_id, parent, start, end = record
        rows, family = self._families.pop(call_id)
        if family is None:
            tools, covered, ids = sum_of(rows, start, end)
        else:
            self.let_go += family.take(rows, self._bounds.ids, self._bounds.spans)
            tools, ids = family.tools, family.ids
            covered = family.covered_within(start, end)
        self.let_go += self._edges.count_tools(tool, tools)
        if covered:
            self.covered.append((tool, end, covered))
        if parent and covered:
            # What its children covered was counted as own time of this call: to be taken off.
            self._families.cover(parent, tool, covered)
        elif covered:
            self.let_go += self._edges.count(None, tool, 0, 0, -covered)
        if not ids:
            return None
        surplus = len(ids) - self._bounds.ids
        if surplus > 0:
            self.let_go += surplus
            del ids[self._bounds.ids :]
        if self._wanted is not None and call_id not in self._wanted:
            return None
        return Settled(call_id, ids, settled_tools(tools), end - start - covered)

    def _count(self) -> None:
        for edge in self._counted:
            self.let_go += self._edges.count(*edge)
        self._counted.clear()
