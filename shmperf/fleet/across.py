"""
The call graph of what was collected: also where a call and its parent ran on different nodes.

    within a storage      parent's id, as each call has it
    between two           a root's ``remote``: trace and id of the call that handed them on
                          (`shmperf.traceparent`), found among the calls of all other storages

Ids are a storage's own, so two nodes may have the same: a parent elsewhere is one whose id fits and
whose trace does, which is made of its storage's own origin, whatever that of its lines is. What was
never kept, or is somebody else's span, is no parent here, and the call stands at the top.

Of kept calls, as that is what was collected: where tools keep some of their calls, the graph is of
those. Own time is without what was below, one after the other: calls that ran at once take from it
more than they should, down to nothing.
"""

from __future__ import annotations

from shmperf.analysis.treestate import Edge
from shmperf.errors import StoreError
from shmperf.exporters.database import Database
from shmperf.storage.origin import trace_id

__all__ = ["graph"]

_ORIGIN_DIGITS = 32
_Key = tuple[str | None, str]

_WITHIN = """
WITH below AS (
    SELECT origin, parent AS id, sum(ms) AS ms FROM calls WHERE parent IS NOT NULL GROUP BY ALL
)
SELECT p.tool, c.tool, count(*), sum(coalesce(c.ms, 0)),
    sum(greatest(0, coalesce(c.ms, 0) - coalesce(below.ms, 0)))
FROM calls c
LEFT JOIN calls p ON p.origin = c.origin AND p.id = c.parent
LEFT JOIN below ON below.origin = c.origin AND below.id = c.id
WHERE c.status != 'aborted' GROUP BY ALL
"""
# What is behind the dash of a root's remote is the id of a call, if it is one of ours.
_BETWEEN = """
SELECT c.origin, c.id, c.tool, coalesce(c.ms, 0), substr(c.remote, 1, 32),
    coalesce(p.storage, p.origin), p.id, p.trace, p.remote, p.tool, above.tool
FROM calls c
JOIN calls p ON p.id = substr(c.remote, 34) AND p.origin != c.origin
LEFT JOIN calls above ON above.origin = p.origin AND above.id = p.parent
WHERE c.remote LIKE '%-%' AND c.parent IS NULL AND c.status != 'aborted'
"""


def graph(database: Database) -> list[Edge]:
    """The graph of all calls in *database* (see `reading`), the largest total first; StoreError."""
    edges: dict[_Key, Edge] = {}
    for parent, tool, calls, total_ms, own_ms in database.query(_WITHIN).rows:
        _edge(edges, parent, str(tool)).count(int(calls), _ns(total_ms), _ns(own_ms))
    moved = set[tuple[str, str]]()
    for origin, child, tool, ms, trace, *above in database.query(_BETWEEN).rows:
        storage, call_id, root, remote, parent, grandparent = above
        # A parent that was published again in another run of its storage stands there twice.
        is_new = (origin, child) not in moved
        if is_new and _trace_of(storage, root or call_id, remote) == trace:
            moved.add((origin, child))
            _move(edges, (parent, str(tool)), grandparent, _ns(ms))
    for edge in edges.values():
        edge.own_ns = max(0, edge.own_ns)
    found = [edge for edge in edges.values() if edge.calls]
    return sorted(found, key=lambda edge: (-edge.total_ns, edge.parent or "", edge.tool))


def _edge(edges: dict[_Key, Edge], parent: str | None, tool: str) -> Edge:
    return edges.setdefault((parent, tool), Edge(parent, tool))


def _move(edges: dict[_Key, Edge], key: tuple[str, str], above: str | None, ns: int) -> None:
    """Let a call that stood at the top stand under its parent, whose own time is the less."""
    parent, tool = key
    top = _edge(edges, None, tool)
    own_ns = min(ns, top.own_ns)
    top.count(-1, -ns, -own_ns)
    _edge(edges, parent, tool).count(1, ns, own_ns)
    _edge(edges, above, parent).count(0, 0, -ns)


def _trace_of(storage: str, root: str, remote: str | None) -> str:
    """Of a call of that *storage*: somebody else's, or made of its root."""
    if remote:
        return remote.partition("-")[0]
    try:
        return trace_id(bytes.fromhex(storage[:_ORIGIN_DIGITS]), root).hex()
    except ValueError:
        return ""


def _ns(milliseconds: object) -> int:
    try:
        return round(float(str(milliseconds)) * 1e6)
    except (ValueError, OverflowError):
        raise StoreError(f"found {milliseconds!r} milliseconds") from None
