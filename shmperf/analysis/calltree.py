"""
Who called whom: the children of a call, its own time, and the graph from tool to tool.

Rings are drained one after the other, so a parent may be drained before its children. It is
*settled* when all rings have been looked at once more after the pass in which it was drained, those
of workers too that have come since: by then whatever was stored before it has been seen.

    add ──► drained in this pass ──► in the pass before ──► settled ──► remembered, then forgotten
      └───► family of its parent ──────────────────────────────┴──► graph

A *family* is what is known of a call's children while the call is open or not yet settled: their
rows as they came, and beyond a few rows their sum: count and time by tool, their first ids, and the
union of their intervals. Own time is duration minus that union, clipped to the call: children that
ran side by side are not subtracted twice.

A child that is drained after its parent was settled (another process, a task that outlived its
parent) changes no settled parent. Its row waits in a family like any other and enters the graph
when the parent is forgotten; `graph` shows it at once. So a record with a known parent costs one
append, and nobody looks up, for each of them, whether the parent is settled already: asking a
hundred thousand remembered ids whether one of them has a family is one loop in C (30 ns an id; a
table from id to tool cost 90 ns for each record).

The state changes by deltas that a journal holds: applied in order to an empty tree they give the
same state. What is remembered of settled calls is not part of it: late children of calls settled
before a restart count as ones whose parent is unknown.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, gt
from typing import NamedTuple

from .children import Child, bounded, settled_tools
from .edges import Edges
from .families import Bounds, Families
from .remembered import Remembered
from .settlement import Settlement
from .treestate import Chunk, Columns, Edge, Recent, Settled, TreeDelta, TreeState, batches

__all__ = ["NOBODY", "Below", "Bounds", "CallTree", "Edge", "Settled", "TreeDelta", "TreeState"]

_calls = attrgetter("calls")


class Below(NamedTuple):
    """The first ids of a call's children, and their calls and time by tool."""

    ids: list[int]
    totals: dict[str, tuple[int, int]]


NOBODY = Below([], {})


_BOUNDS = Bounds()


class CallTree:
    """
    Trees and graph of all calls of a session. Pure: no clock, no process, one thread.

    ``let_go`` counts ids, intervals and children dropped for want of room; ``unknown_parents`` the
    children that entered the graph without the tool of their parent because of that.
    """

    def __init__(self, bounds: Bounds = _BOUNDS) -> None:
        self.bounds = bounds
        self.let_go = 0
        self.unknown_parents = 0
        self._edges = Edges(bounds.edges)
        self._families = Families(bounds)
        self._workers: dict[str, Recent] = {}
        self._remembered = Remembered(bounds.remembered)
        # Of calls that have settled: tool, end, and how much of their time was their children's.
        # Whoever takes note of them empties it.
        self.covered: list[tuple[str, int, int]] = []
        # What the next delta tells besides edges and families.
        self._touched: set[str] = set()
        self._is_cleared = False

    # --- what happens ----------------------------------------------------------------------------

    def add(self, worker: str, tool: str, columns: Columns) -> None:
        """
        Take finished calls of one *tool*, drained from one *worker*, in the order of their storing.

        Columns are ids, parents, starts and ends, in nanoseconds of the monotonic clock. They are
        kept and must not be changed afterwards. An end before its start is taken for the start.
        """
        if not columns[0]:
            return
        alone = self._families.add_words(tool, columns)
        if alone is None:
            ids, parents, starts, ends = columns
            if any(map(gt, starts, ends)):
                columns = ids, parents, starts, list(map(max, starts, ends))
            alone = self._families.add(tool, columns)
        recent = self._workers.get(worker)
        if recent is None:
            recent = self._workers[worker] = Recent()
            recent.passes = 2
        recent.new.append((tool, columns))
        self._touched.add(worker)
        calls, total_ns = alone
        if calls:
            self.let_go += self._edges.count(None, tool, calls, total_ns, total_ns)

    def pass_done(self, worker: str, wanted: Container[int] | None = None) -> list[Settled]:
        """
        Settle what was drained before the previous pass, and return the calls that have children.

        Every ring of *worker* has been looked at since the last time; children come before their
        parents. Of some calls only, where nobody needs to know of others than those *wanted*.
        """
        recent = self._workers.get(worker)
        if recent is None or not (recent.old or recent.new):
            return []
        settled = self._settle(recent.old, wanted)
        recent.age()
        self._touched.add(worker)
        self._stay_within_bounds()
        return settled

    def worker_gone(self, worker: str, wanted: Container[int] | None = None) -> list[Settled]:
        """Settle everything that came from *worker*: nothing more will. As in `pass_done`."""
        recent = self._workers.pop(worker, None)
        if recent is None:
            return []
        self._touched.add(worker)
        settled = self._settle(recent.old + recent.new, wanted)
        for tool, ids in self._remembered:
            # What came of calls that had settled: nobody knows them after a restart.
            if self._families.rows:
                self._count_families(tool, ids)
        self._stay_within_bounds()
        return settled

    def add_aborted(self, tools: Mapping[int, str]) -> None:
        """Calls that will never finish, by id: their children enter the graph under their tools."""
        for call_id, tool in tools.items():
            self._let_family_go(call_id, tool)
            self._remember(tool, (call_id,))

    def clear(self) -> None:
        """Forget graph and families; open calls may still finish, children drained later count."""
        for recent in self._workers.values():
            for tool, columns in recent.old + recent.new:
                self._remember(tool, columns[0])
        self._edges.clear()
        self._families.clear()
        self._workers.clear()
        self.let_go = self.unknown_parents = 0
        self._touched.clear()
        self._is_cleared = True

    # --- what is asked ---------------------------------------------------------------------------

    def graph(self, open_tools: Mapping[int, str]) -> list[Edge]:
        """
        Return the graph, the largest total first; nothing of it is shared with the tree.

        *open_tools* maps the ids of open calls to their tools: their children show already.
        """
        found, families = self._edges.copies(), self._families
        known = _known_tools(self._workers.values(), self._remembered, families.rows)
        for call_id in families.rows:
            parent = known.get(call_id)
            if parent is None:
                parent = open_tools.get(call_id)
            for tool, counts in families.tools(call_id).items():
                edge = found.get((parent, tool))
                if edge is None:
                    edge = found[parent, tool] = Edge(parent, tool)
                edge.count(*counts)
        for edge in found.values():
            # Below nothing, or without a call, only where a parent was let go between a child and
            # its correction.
            edge.total_ns, edge.own_ns = bounded(edge.total_ns), max(0, bounded(edge.own_ns))
        return sorted(
            filter(_calls, found.values()),
            key=lambda edge: (-edge.total_ns, edge.parent or "", edge.tool),
        )

    def below(self, call_id: int) -> Below:
        """What is known by now of the children of an open call."""
        families = self._families
        return Below(families.ids(call_id), settled_tools(families.tools(call_id)))

    def children(self) -> Iterator[tuple[int, Child]]:
        """The children that are known one by one, each behind its parent, which is not settled."""
        return self._families.children()

    def state(self) -> TreeState:
        """Return all that a restart needs; nothing of it is shared with the tree."""
        return TreeState(
            edges=[edge.copy() for edge in self._edges],
            families=self._families.written(self._families.rows),
            recent={
                worker: (batches(recent.old), batches(recent.new))
                for worker, recent in self._workers.items()
                if recent.old or recent.new
            },
            let_go=self.let_go,
            unknown_parents=self.unknown_parents,
        )

    @classmethod
    def restore(cls, state: TreeState, bounds: Bounds = _BOUNDS) -> CallTree:
        """Return a tree in *state*, which it takes over; it has nothing to tell."""
        tree = cls(bounds)
        everything = {worker: (2, old, new) for worker, (old, new) in state.recent.items()}
        tree.apply(
            TreeDelta(
                edges=state.edges,
                families=state.families,
                recent=dict(everything),
                let_go=state.let_go,
                unknown_parents=state.unknown_parents,
            )
        )
        return tree

    def take_delta(self) -> TreeDelta | None:
        """Return what has changed since the last delta, None when nothing has."""
        families, removed, let_go = self._families.take_change()
        self.let_go += let_go
        recent = {
            worker: found.tell() if (found := self._workers.get(worker)) is not None else None
            for worker in self._touched
        }
        delta = TreeDelta(
            edges=self._edges.take_changed(),
            families=families,
            removed=removed,
            recent=recent,
            let_go=self.let_go,
            unknown_parents=self.unknown_parents,
            cleared=self._is_cleared,
        )
        self._touched, self._is_cleared = set(), False
        if delta.edges or families or removed or recent or delta.cleared:
            return delta
        return None

    def apply(self, delta: TreeDelta) -> None:
        """Make the change of *delta*, taken from a tree in this one's state; it is taken over."""
        if delta.cleared:
            self.clear()
        for edge in delta.edges:
            self._edges.put(edge)
        self._families.apply(delta.families, delta.removed)
        for worker, told in delta.recent.items():
            if told is None:
                self._workers.pop(worker, None)
            else:
                known = self._workers.get(worker) or Recent()
                self._workers[worker] = known.hear(*told)
        self.let_go, self.unknown_parents = delta.let_go, delta.unknown_parents
        self._touched, self._is_cleared = set(), False

    # --- within ----------------------------------------------------------------------------------

    def _settle(self, chunks: list[Chunk], wanted: Container[int] | None) -> list[Settled]:
        settled: list[Settled] = []
        if self._families.rows:
            turn = Settlement(self._families, self._edges, self.bounds, wanted)
            settled = turn.settle(chunks)
            self.covered += turn.covered
            self.let_go += turn.let_go
        for tool, columns in chunks:
            self._remember(tool, columns[0])
        return settled

    def _count_families(self, tool: str, ids: Iterable[int]) -> None:
        """Count the families of those calls of *tool* that have one."""
        for call_id in list(filter(self._families.rows.__contains__, ids)):
            self._let_family_go(call_id, tool)

    def _let_family_go(self, call_id: int, parent: str | None) -> int:
        """Count the family of a call that never settles, or has settled; returns its children."""
        tools = self._families.pop_tools(call_id)
        self.let_go += self._edges.count_tools(parent, tools)
        return sum(counts[0] for counts in tools.values())

    def _remember(self, tool: str, ids: Sequence[int]) -> None:
        for forgotten, gone in self._remembered.add(tool, ids):
            if self._families.rows:
                self._count_families(forgotten, gone)

    def _stay_within_bounds(self) -> None:
        self.let_go += self._families.fold_when_due()
        for call_id in self._families.surplus():
            children = self._let_family_go(call_id, None)
            self.unknown_parents += children
            self.let_go += children
        self._families.forget_changes()


def _known_tools(
    workers: Iterable[Recent], remembered: Remembered, rows: Mapping[int, list[Child]]
) -> dict[int, str]:
    """The tools of those parents that have been drained."""
    drained = [
        (tool, columns[0])
        for recent in workers
        for chunks in (recent.old, recent.new)
        for tool, columns in chunks
    ]
    has_family = rows.__contains__
    return {
        call_id: tool
        for tool, ids in [*remembered, *drained]
        for call_id in filter(has_family, ids)
    }
