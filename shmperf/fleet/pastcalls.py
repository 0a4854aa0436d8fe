"""
The calls that were collected: the slowest, and the failed ones by cause, of all nodes or of one.

Of kept calls, as those are what is collected: where tools keep some of theirs, these are of those.
A cause is a fingerprint where calls have one, else tool, status and class; a group counts its calls
(of an exception that failed several, one inside the other, each), and shows the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from shmperf.exporters.database import Database, quoted
from shmperf.storage.lines import timestamp

from .merging import NodeCall, NodeErrors
from .past import Times

__all__ = ["errors", "names", "nodes", "slowest"]

_MOST_TOOLS = 50


def names(database: Database) -> set[str]:
    """Every tool of which a call was collected."""
    return {str(tool) for (tool,) in database.query("SELECT DISTINCT tool FROM calls").rows}


def nodes(database: Database) -> set[str]:
    """Every node of which a call was collected."""
    return {str(node) for (node,) in database.query("SELECT DISTINCT node FROM calls").rows}


def slowest(
    database: Database, times: Times, most: int, tool: str | None = None, node: str | None = None
) -> list[NodeCall]:
    """The *most* slowest calls that began in those *times*."""
    query = _SLOWEST.format(condition=_condition(times, tool, node), most=most)
    return [_call(row) for row in _rows(database, query)]


def errors(
    database: Database, times: Times, tool: str | None = None, node: str | None = None
) -> list[NodeErrors]:
    """Failed calls that began in those *times*, the largest group first."""
    found: dict[tuple[Any, ...], NodeErrors] = {}
    for row in _rows(database, _ERRORS.format(condition=_condition(times, tool, node))):
        cause = row["fingerprint"] or (row["tools"][0], row["status"], row["err"])
        where, group = row.pop("node"), _group(row)
        known = found.get(cause)
        found[cause] = group if known is None else _both(known, group)
        found[cause].nodes[where] = group.count
    for group in found.values():
        group.nodes = dict(sorted(group.nodes.items(), key=lambda one: (-one[1], one[0])))
    return sorted(found.values(), key=lambda group: (-group.count, group.tool, group.err or ""))


_SLOWEST = """
SELECT tool, epoch_us(timestamp) AS began_us, id, pid, parent, trace, ms, status, err, error,
    fingerprint, coalesce(params, '{{}}') AS params, remote, node
FROM calls WHERE {condition} AND ms IS NOT NULL AND isfinite(ms)
ORDER BY ms DESC, node, origin, number LIMIT {most}
"""
# A row a cause and node, with the last of its calls.
_ERRORS = """
SELECT fingerprint, node, status, err, list(DISTINCT tool ORDER BY tool) AS tools,
    count(*)::BIGINT AS count, epoch_us(min(timestamp)) AS first, epoch_us(max(timestamp)) AS last,
    max_by(tool, timestamp) AS tool, max_by(error, timestamp) AS error,
    max_by(params, timestamp) AS params, max_by(id, timestamp) AS id,
    max_by(parent, timestamp) AS parent, max_by(pid, timestamp) AS pid
FROM calls WHERE {condition} AND status NOT IN ('ok', 'aborted')
GROUP BY fingerprint, node, status, err, CASE WHEN fingerprint IS NULL THEN calls.tool END
ORDER BY ALL
"""


def _rows(database: Database, query: str) -> Iterator[dict[str, Any]]:
    found = database.query(query)
    return (dict(zip(found.names, row, strict=True)) for row in found.rows)


def _condition(times: Times, tool: str | None, node: str | None) -> str:
    found = [times.of("timestamp")]
    found += [
        f"{name} = '{quoted(value)}'"
        for name, value in (("tool", tool), ("node", node))
        if value is not None
    ]
    return " AND ".join(found)


def _call(row: dict[str, Any]) -> NodeCall:
    began_us, ms = row.pop("began_us"), row.pop("ms")
    return NodeCall(
        timestamp=_time(began_us), start_s=began_us / 1e6, duration_s=round(ms / 1000, 9), **row
    )


def _group(row: dict[str, Any]) -> NodeErrors:
    error, first, last = row.pop("error"), row.pop("first"), row.pop("last")
    row["tools"] = row["tools"][:_MOST_TOOLS]
    sample = error if error is not None else row["params"] or None
    kind = "message" if error is not None else "parameters"
    return NodeErrors(
        calls=row["count"],
        first=_time(first),
        last=_time(last),
        sample=sample,
        sample_of=None if sample is None else kind,
        **row,
    )


def _both(one: NodeErrors, other: NodeErrors) -> NodeErrors:
    """What two nodes have of one cause; the later call is shown."""
    earlier, later = sorted((one, other), key=lambda group: group.last)
    return msgspec.structs.replace(
        later,
        count=one.count + other.count,
        calls=one.calls + other.calls,
        first=min(one.first, other.first),
        tools=sorted({*one.tools, *other.tools})[:_MOST_TOOLS],
        nodes={**earlier.nodes, **later.nodes},
    )


def _time(us: int) -> str:
    return timestamp(us * 1000)
