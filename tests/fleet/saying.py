"""Snapshots made of calls, for tests: what a node would say that had had them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shmperf.analysis.errorgroups import Bug
from shmperf.analysis.exemplars import Exemplar
from shmperf.analysis.failures import ErrorsKnown, Failure, Failures
from shmperf.analysis.stats import Books, Figures
from shmperf.analysis.totals import Totals
from shmperf.analysis.treestate import Edge
from shmperf.fleet.snapshot import Node, Snapshot
from shmperf.shm.record import Call, Outcome

ORIGIN = "0123456789abcdef0123456789abcdef"


class Made(NamedTuple):
    """A call that ended: how long it took, and under which tool; or a lost one."""

    id: int
    tool: str
    duration_ns: int
    parent: str | None = None
    err: str | None = None
    fingerprint: str | None = None
    is_lost: bool = False


def call_of(made: Made) -> Call:
    """Its record."""
    status = Outcome.ERROR if made.err else Outcome.OK
    return Call(
        tool=made.tool,
        id=made.id,
        pid=1,
        parent=0,
        start_ns=1_700_000_000_000_000_000 + made.id,
        duration_ns=made.duration_ns,
        status=status,
        params='{"password": "***", "query": "x"}',
        err=made.err,
        message="it broke" if made.err else None,
        fingerprint=made.fingerprint,
    )


def snapshot_of(calls: Sequence[Made], name: str = "a", origin: str = ORIGIN) -> Snapshot:
    """What a node says that had these calls."""
    totals: dict[str, Totals] = {}
    edges: dict[tuple[str | None, str], Edge] = {}
    ended = [one for one in calls if not one.is_lost]
    for one in ended:
        totals.setdefault(one.tool, Totals()).add([one.duration_ns], bool(one.err), one.id)
        edge = edges.setdefault((one.parent, one.tool), Edge(one.parent, one.tool))
        edge.count(1, one.duration_ns, one.duration_ns)
    lost = len(calls) - len(ended)
    books = Books(begun=len(calls), lost=lost, losses={"ring_full": lost} if lost else {})
    return Snapshot(
        node=Node(name=name, origin=origin, workers=1),
        figures=Figures(
            totals=totals, sizes={t: one.count for t, one in totals.items()}, books=books
        ),
        limit=100,
        edges=list(edges.values()),
        errors=_errors_of(ended),
        slowest=[Exemplar(call_of(one)) for one in ended],
    )


def _errors_of(calls: Iterable[Made]) -> ErrorsKnown:
    caught: dict[str, Bug] = {}
    failures = Failures()
    for one in calls:
        call = call_of(one)
        if one.err is None:
            continue
        if one.fingerprint:
            bug = Bug(1, call.start_ns, call.start_ns, [one.tool], call, {one.tool: 1})
            caught.setdefault(one.fingerprint, Bug()).merge(bug)
        else:
            status = int(Outcome.ERROR)
            failures.add(Failure(one.tool, status, one.err, 1, call.start_ns, call.start_ns, call))
    failures.take_delta()
    return ErrorsKnown(caught, failures.state())
