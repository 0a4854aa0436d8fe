"""
The snapshots of many nodes as one answer: counts, sums and histograms add up, nothing is averaged.

    Snapshot of node a ─┐
    Snapshot of node b ─┼─► Merged ──► statistics, tree, errors, slowest calls, alerts, open calls
    Snapshot of node c ─┘

Exact: the snapshots of any partition of calls over nodes, in any order, make what one node would
say that had them all. A call whose parent ran on another node counts there as one without a parent,
since a node knows no ids of another's. Books are summed as each node has them, so they balance
where each of them does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import nlargest
from typing import Any, NamedTuple

import msgspec

from shmperf.analysis.errorgroups import Bug
from shmperf.analysis.errorgroups import merge as merge_bugs
from shmperf.analysis.exemplars import MOST, Exemplar
from shmperf.analysis.failures import ErrorsKnown, Failures
from shmperf.analysis.shownalert import ShownAlert
from shmperf.analysis.stats import Books, Figures, SessionStats, all_stats
from shmperf.analysis.totals import Totals
from shmperf.analysis.treestate import Edge
from shmperf.session.messages import OpenCallAnswer
from shmperf.storage.failing import ErrorGroup, groups_of
from shmperf.storage.kept import KeptCall, as_kept

from .snapshot import Snapshot

__all__ = ["Merged", "NodeAlert", "NodeCall", "NodeErrors", "merge"]

_MOST_NAMES = 100
# Of one call that failed on each of a thousand nodes, the latest say enough.
_MOST_LATEST = 2_000


class NodeCall(KeptCall, kw_only=True):
    """A kept call, and the node that it ran on."""

    node: str


class NodeErrors(ErrorGroup, kw_only=True):
    """Failed calls of one cause, and how many of them each node had."""

    nodes: dict[str, int] = msgspec.field(default_factory=dict)


class NodeAlert(ShownAlert, kw_only=True):
    """Something that turned bad, and where."""

    node: str


class _Slow(NamedTuple):
    exemplar: Exemplar
    node: str


class Merged:
    """What all nodes say together; made by `merge`, not changed afterwards."""

    def __init__(self) -> None:
        self.totals: dict[str, Totals] = {}
        self.sizes: Counter[str] = Counter()
        self.limits: dict[str, int] = {}
        self.edges: dict[tuple[str | None, str], Edge] = {}
        self.bugs: dict[str, Bug] = {}
        self.failures = Failures()
        self.latest: list[Any] = []
        self.slow: dict[str, list[_Slow]] = {}
        self.alerts: list[NodeAlert] = []
        self.open: list[tuple[str, str, OpenCallAnswer]] = []
        self.books = Books()
        self._nodes_of: dict[object, Counter[str]] = {}

    def add(self, snapshot: Snapshot) -> None:
        """Count what *snapshot* says; nothing of it is shared."""
        node, figures = snapshot.node.name, snapshot.figures
        for tool, totals in figures.totals.items():
            known = self.totals.get(tool)
            if known is None:
                # A copy: several snapshots may be merged again, in other company.
                known = self.totals[tool] = Totals()
            known.merge(totals)
        self.sizes.update(figures.sizes)
        for tool in {*figures.totals, *figures.books.opened}:
            self.limits[tool] = _together(self.limits.get(tool), snapshot.limit_of(tool))
        for edge in snapshot.edges:
            self._add_edge(edge)
        self._add_errors(node, snapshot.errors)
        for one in snapshot.slowest:
            self.slow.setdefault(one.call.tool, []).append(_Slow(one, node))
        for alert in snapshot.alerts:
            self.alerts.append(NodeAlert(**msgspec.structs.asdict(alert), node=node))
        self.open += [(node, snapshot.node.origin, call) for call in snapshot.open]
        self.books = _both(self.books, figures.books)

    def settle(self) -> Merged:
        """Drop what is beyond bounds; the last of it."""
        self.slow = {
            tool: nlargest(MOST, calls, key=_slowness) for tool, calls in self.slow.items()
        }
        self.alerts.sort(key=lambda alert: (alert.began, alert.id))
        self.open.sort(key=lambda one: -one[2].running_s)
        del self.latest[_MOST_LATEST:]
        return self

    def _add_edge(self, edge: Edge) -> None:
        key = edge.parent, edge.tool
        known = self.edges.get(key)
        if known is None:
            known = self.edges[key] = Edge(edge.parent, edge.tool)
        known.count(edge.calls, edge.total_ns, edge.own_ns)

    def _add_errors(self, node: str, errors: ErrorsKnown) -> None:
        merge_bugs(self.bugs, {name: _copied(bug) for name, bug in errors.caught.items()})
        for name, bug in errors.caught.items():
            self._nodes_of.setdefault(name, Counter())[node] += bug.count
        self.failures.apply(errors.uncaught)
        for failure in errors.uncaught:
            key = failure.tool, failure.err
            self._nodes_of.setdefault(key, Counter())[node] += failure.count
        self.latest += errors.latest

    # --- what is asked ---------------------------------------------------------------------------

    def figures(self) -> Figures:
        """What the statistics of all tools are made of."""
        return Figures(totals=self.totals, sizes=dict(self.sizes), books=self.books)

    def stats(self) -> SessionStats:
        """Statistics of all tools, and the books."""
        return all_stats(self.totals, self.sizes, lambda tool: self.limits.get(tool, 0), self.books)

    def tree(self) -> list[Edge]:
        """The graph from tool to tool, the largest total first."""
        return sorted(
            self.edges.values(), key=lambda edge: (-edge.total_ns, edge.parent or "", edge.tool)
        )

    def errors(self, tool: str | None = None) -> list[NodeErrors]:
        """Failed calls in groups, the largest first."""
        known = self.known_errors()
        groups = [self._with_nodes(group) for group in groups_of(known, (), tool)]
        return sorted(groups, key=lambda group: -group.count)

    def known_errors(self) -> ErrorsKnown:
        """Every failed call, in groups."""
        return ErrorsKnown(self.bugs, self.failures.state(), self.latest)

    def slowest(self, most: int, tool: str | None = None) -> list[NodeCall]:
        """The *most* slowest calls of all nodes, of one tool or of all."""
        lists = self.slow.values() if tool is None else [self.slow.get(tool, [])]
        found = nlargest(most, (one for calls in lists for one in calls), key=_slowness)
        return [_shown(one) for one in found]

    def _with_nodes(self, group: ErrorGroup) -> NodeErrors:
        nodes = self._nodes_of.get(group.fingerprint or (group.tool, group.err)) or Counter()
        return NodeErrors(**msgspec.structs.asdict(group), nodes=dict(nodes.most_common()))


def merge(snapshots: Iterable[Snapshot]) -> Merged:
    """All *snapshots* in one."""
    found = Merged()
    for snapshot in snapshots:
        found.add(snapshot)
    return found.settle()


def _together(known: int | None, limit: int) -> int:
    """Records kept on all nodes together: all, where one keeps all."""
    if known is None:
        return limit
    return -1 if -1 in (known, limit) else known + limit


def _both(ours: Books, theirs: Books) -> Books:
    """
    Both in one.

    Causes of losses are cut to what a node's rows say, before: where one node's say too much, that
    is not another's.
    """
    nameless = {tool: list(names) for tool, names in ours.nameless.items()}
    for tool, names in theirs.nameless.items():
        known = nameless.setdefault(tool, [])
        new = [name for name in names if name not in known]
        known += new[: max(0, _MOST_NAMES - len(known))]
    return Books(
        begun=ours.begun + theirs.begun,
        lost=ours.lost + theirs.lost,
        losses=_added(ours.losses, theirs.lost_by_cause()),
        faults=_added(ours.faults, theirs.faults),
        optimization=ours.optimization or theirs.optimization,
        workers=ours.workers + theirs.workers,
        complete=ours.complete and theirs.complete,
        nameless=nameless,
        opened=_added(ours.opened, theirs.opened),
    )


def _added(ours: dict[str, int], theirs: dict[str, int]) -> dict[str, int]:
    found = dict(ours)
    for name, count in theirs.items():
        found[name] = found.get(name, 0) + count
    return found


def _copied(bug: Bug) -> Bug:
    return msgspec.structs.replace(bug, tools=list(bug.tools), calls=dict(bug.calls))


def _slowness(one: _Slow) -> tuple[int, str, int]:
    call = one.exemplar.call
    return call.duration_ns or 0, one.node, call.id


def _shown(one: _Slow) -> NodeCall:
    kept = as_kept(one.exemplar.call)
    return NodeCall(**msgspec.structs.asdict(kept), node=one.node)
