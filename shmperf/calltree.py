"""
Who called whom: children of a call, own time, and the graph from tool to tool.

Rings are drained one after the other, so a parent may be drained before its children. It is
*settled* once its worker has been looked at completely twice after it was drained: whatever its own
worker stored before it has been seen by then. A child that comes later still, from another process
or a task that outlived its parent, enters the graph and changes no settled parent.

    add ──► recent (young → old, one step a pass) ──► settled ──► graph
      └───► family of the parent ───────────────────────┘

A family is what is known of the children of a call that has not settled: count and time by tool,
their first ids, and the union of their intervals. Own time is duration minus that union: children
that ran side by side are not subtracted twice. Everything is bounded; what is let go is counted.

The state changes by deltas that a journal holds; applied in order they give the same state. The
memory of settled calls, for late children, is not part of it: after a restart such a child counts
as one without a known parent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec

__all__ = ["CallTree", "Edge", "Family", "Settled", "TreeDelta", "TreeState"]

_MOST_IDS = 1000
_MOST_SPANS = 128
_MOST_FAMILIES = 100_000
_REMEMBERED = 65_536

Recent = tuple[str, int, int, int]
EdgeKey = tuple[str | None, str]


class Settled(msgspec.Struct, array_like=True):
    """A call that has children, and all of its worker's are known."""

    id: int
    children: list[int]
    totals: dict[str, tuple[int, int]]
    self_ns: int


class Edge(msgspec.Struct):
    """Calls of a tool under a parent tool; None stands for no parent, or one let go."""

    parent: str | None
    tool: str
    calls: int = 0
    total_ns: int = 0
    own_ns: int = 0


class Family(msgspec.Struct, array_like=True):
    """The children, so far, of a call that has not settled."""

    tools: dict[str, list[int]] = {}
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    covered_ns: int = 0
    barrier_ns: int = 0

    def cover(self, start: int, end: int) -> bool:
        """Add an interval to the union; False when part of it lies before what was summed up."""
        whole = start >= self.barrier_ns
        start = max(start, self.barrier_ns)
        if end <= start:
            return whole
        spans = self.spans
        if not spans or start > spans[-1][1]:
            spans.append((start, end))
        else:
            self._merge(start, end)
        if len(spans) > _MOST_SPANS:
            self._sum_up()
        return whole

    def covered_within(self, start: int, end: int) -> int:
        """Length of the union inside a parent that lasted from *start* to *end*."""
        inside = sum(max(0, min(e, end) - max(s, start)) for s, e in self.spans)
        return min(self.covered_ns + inside, max(0, end - start))

    def _merge(self, start: int, end: int) -> None:
        spans = self.spans
        first = bisect_left(spans, (start, start))
        if first and spans[first - 1][1] >= start:
            first -= 1
        last = first
        while last < len(spans) and spans[last][0] <= end:
            start, end = min(start, spans[last][0]), max(end, spans[last][1])
            last += 1
        spans[first:last] = [(start, end)]

    def _sum_up(self) -> None:
        half = _MOST_SPANS // 2
        self.covered_ns += sum(end - start for start, end in self.spans[:half])
        self.barrier_ns = self.spans[half - 1][1]
        del self.spans[:half]


class TreeState(msgspec.Struct, array_like=True):
    """All that a snapshot keeps of a tree."""

    edges: list[Edge] = []
    families: dict[int, Family] = {}
    recent: dict[str, dict[int, Recent]] = {}
    let_go: int = 0
    unknown_parents: int = 0


class TreeDelta(msgspec.Struct, array_like=True):
    """What has changed since the last delta."""

    edges: list[Edge] = []
    families: dict[int, Family | None] = {}
    recent: dict[str, dict[int, Recent]] = {}
    let_go: int = 0
    unknown_parents: int = 0
    cleared: bool = False


class _Generations:
    """A worker's calls drained since its last pass, and in the one before."""

    __slots__ = ("old", "young")

    def __init__(self) -> None:
        self.young: dict[int, Recent] = {}
        self.old: dict[int, Recent] = {}


class CallTree:
    """Pure: no clock, no process; used by one thread."""

    def __init__(self) -> None:
        self.let_go = 0
        self.unknown_parents = 0
        self._edges: dict[EdgeKey, Edge] = {}
        self._families: dict[int, Family] = {}
        self._recent: dict[str, _Generations] = {}
        self._tool_of: dict[int, str] = {}
        self._news: dict[EdgeKey, Edge] = {}
        self._dirty: set[int] = set()
        self._dirty_recent: set[str] = set()
        self._cleared = False

    # --- what happens ----------------------------------------------------------------------------

    def add(self, worker: str, tool: str, batch: Sequence[tuple[int, int, int, int]]) -> None:
        """
        Finished calls (id, parent, start_ns, end_ns) of one *tool*, drained from one ring of
        *worker* in the order in which they were stored; times of the monotonic clock.
        """
        generations = self._recent.get(worker)
        if generations is None:
            generations = self._recent[worker] = _Generations()
        self._dirty_recent.add(worker)
        generations.young.update(
            {call_id: (tool, parent, start, end) for call_id, parent, start, end in batch}
        )
        roots = 0
        roots_ns = 0
        for call_id, parent, start, end in batch:
            if parent:
                self._add_child(tool, call_id, parent, start, end)
            else:
                roots += 1
                roots_ns += end - start
        if roots:
            self._add_to_edge(None, tool, roots, roots_ns, roots_ns)

    def pass_done(self, worker: str) -> list[Settled]:
        """Every ring of *worker* has been looked at since the last call: its old calls settle."""
        generations = self._recent.get(worker)
        if generations is None or not (generations.old or generations.young):
            return []
        self._dirty_recent.add(worker)
        old, generations.old, generations.young = generations.old, generations.young, {}
        return self._settle(old)

    def worker_gone(self, worker: str) -> list[Settled]:
        """Nothing more will come from *worker*: all of its calls settle."""
        generations = self._recent.pop(worker, None)
        if generations is None:
            return []
        self._dirty_recent.add(worker)
        return self._settle(generations.old | generations.young)

    def clear(self) -> None:
        """Forget the graph and all families; calls that are open may still end later."""
        self._edges.clear()
        self._news.clear()
        self._families.clear()
        self._dirty.clear()
        self._dirty_recent.update(self._recent)
        self._recent.clear()
        self.let_go = self.unknown_parents = 0
        self._cleared = True

    # --- what is asked ---------------------------------------------------------------------------

    def graph(self, open_tools: Mapping[int, str]) -> list[Edge]:
        """
        The graph, largest total first.

        *open_tools* maps the ids of open calls to their tools, so that children of a parent that
        still runs show already.
        """
        found = {key: msgspec.structs.replace(edge) for key, edge in self._edges.items()}
        for parent_id, family in self._families.items():
            parent = open_tools.get(parent_id) or self._recent_tool(parent_id)
            for tool, (calls, total_ns, own_ns) in family.tools.items():
                edge = found.setdefault((parent, tool), Edge(parent, tool))
                edge.calls += calls
                edge.total_ns += total_ns
                edge.own_ns += own_ns
        return sorted(found.values(), key=lambda edge: (-edge.total_ns, edge.tool))

    def state(self) -> TreeState:
        """All that a restart needs."""
        return TreeState(
            edges=list(self._edges.values()),
            families=self._families,
            recent={name: g.old | g.young for name, g in self._recent.items() if g.old or g.young},
            let_go=self.let_go,
            unknown_parents=self.unknown_parents,
        )

    @classmethod
    def restore(cls, state: TreeState) -> CallTree:
        """A tree as it was; what had been drained by then settles after one further pass."""
        tree = cls()
        tree._edges = {(edge.parent, edge.tool): edge for edge in state.edges}
        tree._families = dict(state.families)
        tree.let_go = state.let_go
        tree.unknown_parents = state.unknown_parents
        for worker, recent in state.recent.items():
            tree._replace_recent(worker, recent)
        return tree

    def take_delta(self) -> TreeDelta | None:
        """What has changed since the last delta; None when nothing has."""
        if not (self._news or self._dirty or self._dirty_recent or self._cleared):
            return None
        delta = TreeDelta(
            edges=list(self._news.values()),
            families={parent: self._families.get(parent) for parent in self._dirty},
            recent={worker: self._recent_of(worker) for worker in self._dirty_recent},
            let_go=self.let_go,
            unknown_parents=self.unknown_parents,
            cleared=self._cleared,
        )
        self._news, self._dirty, self._dirty_recent = {}, set(), set()
        self._cleared = False
        return delta

    def apply(self, delta: TreeDelta) -> None:
        """Make the change of *delta*, taken from a tree in the same state as this one."""
        if delta.cleared:
            self.clear()
            self._cleared = False
        for edge in delta.edges:
            known = self._edges.setdefault((edge.parent, edge.tool), Edge(edge.parent, edge.tool))
            known.calls += edge.calls
            known.total_ns += edge.total_ns
            known.own_ns += edge.own_ns
        for parent, family in delta.families.items():
            if family is None:
                self._families.pop(parent, None)
            else:
                self._families[parent] = family
        for worker, recent in delta.recent.items():
            self._replace_recent(worker, recent)
        self.let_go, self.unknown_parents = delta.let_go, delta.unknown_parents
        self._dirty_recent.clear()

    def self_check(self) -> None:
        """Raise AssertionError when an invariant of the tree is broken."""
        for edge in self._edges.values():
            if edge.calls < 0 or edge.total_ns < 0:
                raise AssertionError(f"an edge counts less than nothing: {edge}")
        for family in self._families.values():
            ends = [bound for span in family.spans for bound in span]
            if ends != sorted(ends) or len(family.spans) > _MOST_SPANS:
                raise AssertionError(f"the intervals of a family overlap: {family.spans}")

    # --- within ----------------------------------------------------------------------------------

    def _add_child(self, tool: str, call_id: int, parent: int, start: int, end: int) -> None:
        duration = end - start
        family = self._families.get(parent)
        if family is None:
            known = self._tool_of.get(parent)
            if known is not None:
                self._add_to_edge(known, tool, 1, duration, duration)
                return
            family = self._families[parent] = Family()
            if len(self._families) > _MOST_FAMILIES:
                self._let_oldest_go()
        self._dirty.add(parent)
        counts = family.tools.get(tool)
        if counts is None:
            counts = family.tools[tool] = [0, 0, 0]
        counts[0] += 1
        counts[1] += duration
        counts[2] += duration
        if len(family.ids) < _MOST_IDS:
            family.ids.append(call_id)
        else:
            self.let_go += 1
        if not family.cover(start, end):
            self.let_go += 1

    def _settle(self, drained: dict[int, Recent]) -> list[Settled]:
        found = []
        parents = self._families.keys() & drained.keys()
        for call_id in sorted(parents, key=lambda parent: drained[parent][3]):
            tool, parent, start, end = drained[call_id]
            family = self._families.pop(call_id)
            self._dirty.add(call_id)
            for child, (calls, total_ns, own_ns) in family.tools.items():
                self._add_to_edge(tool, child, calls, total_ns, own_ns)
            covered = family.covered_within(start, end)
            self._deduct(parent, tool, covered)
            totals = {child: (counts[0], counts[1]) for child, counts in family.tools.items()}
            found.append(Settled(call_id, family.ids, totals, max(0, end - start - covered)))
        self._remember(drained)
        return found

    def _deduct(self, parent: int, tool: str, covered_ns: int) -> None:
        """Take what a call's children covered from the own time that it was counted with."""
        family = self._families.get(parent)
        if parent and family is not None and tool in family.tools:
            family.tools[tool][2] -= covered_ns
            self._dirty.add(parent)
        else:
            self._add_to_edge(self._tool_of.get(parent), tool, 0, 0, -covered_ns)

    def _remember(self, drained: dict[int, Recent]) -> None:
        self._tool_of.update({call_id: recent[0] for call_id, recent in drained.items()})
        surplus = len(self._tool_of) - _REMEMBERED
        if surplus > _REMEMBERED:
            self._tool_of = dict(islice(self._tool_of.items(), surplus, None))

    def _add_to_edge(
        self, parent: str | None, tool: str, calls: int, total_ns: int, own_ns: int
    ) -> None:
        key = (parent, tool)
        for edges in (self._edges, self._news):
            edge = edges.get(key)
            if edge is None:
                edge = edges[key] = Edge(parent, tool)
            edge.calls += calls
            edge.total_ns += total_ns
            edge.own_ns += own_ns

    def _let_oldest_go(self) -> None:
        parent, family = next(iter(self._families.items()))
        del self._families[parent]
        self._dirty.add(parent)
        self.unknown_parents += 1
        for tool, (calls, total_ns, own_ns) in family.tools.items():
            self._add_to_edge(None, tool, calls, total_ns, own_ns)

    def _recent_tool(self, call_id: int) -> str | None:
        for generations in self._recent.values():
            found = generations.young.get(call_id) or generations.old.get(call_id)
            if found is not None:
                return found[0]
        return None

    def _recent_of(self, worker: str) -> dict[int, Recent]:
        generations = self._recent.get(worker)
        return {} if generations is None else generations.old | generations.young

    def _replace_recent(self, worker: str, recent: dict[int, Recent]) -> None:
        if not recent:
            self._recent.pop(worker, None)
            return
        generations = self._recent.setdefault(worker, _Generations())
        generations.old, generations.young = recent, {}
