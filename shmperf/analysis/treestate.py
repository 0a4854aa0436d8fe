"""
What a call tree hands out, and the form in which its state is written down and changed.

A snapshot of a collector holds a `TreeState`, a frame of its journal a `TreeDelta`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, TypeAlias

import msgspec

from .children import Child, Family, bounded

__all__ = [
    "Chunk",
    "Columns",
    "Edge",
    "Recent",
    "Record",
    "Settled",
    "TreeDelta",
    "TreeState",
    "WrittenChunk",
    "batches",
]

# id, parent, start_ns, end_ns.
Record: TypeAlias = tuple[int, int, int, int]
Columns: TypeAlias = tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]]
# Calls of one tool, as columns: they are looked at whole far more often than one by one.
Chunk: TypeAlias = tuple[str, Columns]
WrittenChunk: TypeAlias = tuple[str, list[Record]]
Passes: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2)]


class Settled(msgspec.Struct, array_like=True, gc=False):
    """A call that has children: their first ids, calls and time by tool, and its own time."""

    id: int
    children: list[int]
    totals: dict[str, tuple[int, int]]
    self_ns: int


class Edge(msgspec.Struct):
    """Calls of a tool under a parent tool; the parent None stands for none, or an unknown one."""

    parent: str | None
    tool: str
    calls: int = 0
    total_ns: int = 0
    own_ns: int = 0

    def count(self, calls: int, total_ns: int, own_ns: int) -> None:
        """Add to the edge."""
        self.calls += calls
        self.total_ns += total_ns
        self.own_ns += own_ns

    def copy(self) -> Edge:
        """One that shares nothing with this, and that msgpack can write."""
        total_ns, own_ns = bounded(self.total_ns), bounded(self.own_ns)
        return Edge(self.parent, self.tool, self.calls, total_ns, own_ns)


class TreeState(msgspec.Struct, array_like=True):
    """All that a snapshot keeps of a tree."""

    edges: list[Edge] = []
    families: dict[int, tuple[list[Child], Family | None]] = {}
    recent: dict[str, tuple[list[WrittenChunk], list[WrittenChunk]]] = {}
    let_go: int = 0
    unknown_parents: int = 0


class TreeDelta(msgspec.Struct, array_like=True):
    """
    What has changed since the last delta.

    *recent* holds, by worker, the passes since then and what was drained before and after the last
    of them and has not been told; None when the worker is gone. So a call that settles between two
    deltas is never written, and any other once.
    """

    edges: list[Edge] = []
    families: dict[int, tuple[list[Child], Family | None]] = {}
    removed: list[int] = []
    recent: dict[str, tuple[Passes, list[WrittenChunk], list[WrittenChunk]] | None] = {}
    let_go: int = 0
    unknown_parents: int = 0
    cleared: bool = False


class Recent:
    """What was drained from one worker since its last pass ended (*new*), and before (*old*)."""

    __slots__ = ("new", "old", "passes", "told_new", "told_old")

    def __init__(self, old: Iterable[Chunk] = (), new: Iterable[Chunk] = ()) -> None:
        self.old = list(old)
        self.new = list(new)
        self.told_old, self.told_new = len(self.old), len(self.new)
        self.passes = 0

    def age(self) -> None:
        """A pass has ended."""
        self.old, self.new = self.new, []
        self.told_old, self.told_new = self.told_new, 0
        self.passes = min(2, self.passes + 1)

    def tell(self) -> tuple[int, list[WrittenChunk], list[WrittenChunk]]:
        """What has not been told yet."""
        passes, old, new = self.passes, self.old[self.told_old :], self.new[self.told_new :]
        self.told_old, self.told_new, self.passes = len(self.old), len(self.new), 0
        return passes, batches(old), batches(new)

    def hear(self, passes: int, old: list[WrittenChunk], new: list[WrittenChunk]) -> Recent:
        """This after what `tell` told."""
        known_old = (self.old, self.new, [])[passes]
        known_new = [] if passes else self.new
        return Recent([*known_old, *_chunks(old)], [*known_new, *_chunks(new)])


def batches(chunks: Iterable[Chunk]) -> list[WrittenChunk]:
    """*chunks* as they are written, record by record."""
    return [(tool, list(zip(*columns, strict=True))) for tool, columns in chunks]


def _chunks(batches: Iterable[WrittenChunk]) -> list[Chunk]:
    return [(tool, _columns(batch)) for tool, batch in batches if batch]


def _columns(batch: list[Record]) -> Columns:
    ids, parents, starts, ends = zip(*batch, strict=True)
    return ids, parents, starts, ends
