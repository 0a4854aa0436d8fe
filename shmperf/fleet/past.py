"""
What was collected, as statistics: of all nodes or of one, between two times.

    totals of intervals, by the manifests ──► SQL: sums and buckets by tool ──► Totals ──► stats

Exact for whole intervals: one that has begun in the time belongs to it, as for `diff`. Calls that
are still open, and those that were lost, stand in no interval: books of a past time are what ended
in it, and say nothing of the rest.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec

from shmperf.analysis.stats import Books, all_stats
from shmperf.analysis.totals import Totals
from shmperf.errors import StoreError
from shmperf.exporters.database import Database, quoted

from .asking import FleetStats, NodeRow, NodeTool, ToolOfFleet
from .manifest import Manifest

__all__ = ["Past", "Times", "past"]

_MOST_NS = (1 << 63) - 1


class Times(NamedTuple):
    """From a moment on, up to another, as `parse_time` has them; None: no such end."""

    since: str | None = None
    until: str | None = None

    def of(self, began: str) -> str:
        """What a row fulfils that began then, by the name of that column."""
        found = ["true"]
        if self.since is not None:
            found.append(f"{began} >= TIMESTAMPTZ '{quoted(self.since)}'")
        if self.until is not None:
            found.append(f"{began} < TIMESTAMPTZ '{quoted(self.until)}'")
        return " AND ".join(found)


class _Source(NamedTuple):
    node: str
    origin: str


class Past:
    """What each node counted in that time, by tool."""

    def __init__(self, sources: dict[_Source, dict[str, Totals]], *, complete: bool) -> None:
        self._sources = sources
        self._complete = complete

    def names(self) -> set[str]:
        """Every tool."""
        return {tool for tools in self._sources.values() for tool in tools}

    def nodes(self) -> set[str]:
        """Every node's name."""
        return {source.node for source in self._sources}

    def of_node(self, name: str) -> Past:
        """The same of one node alone."""
        sources = {source: one for source, one in self._sources.items() if source.node == name}
        return Past(sources, complete=self._complete)

    def stats(self) -> FleetStats:
        """Statistics of all tools, and a row a node."""
        totals: dict[str, Totals] = {}
        for tools in self._sources.values():
            for tool, one in tools.items():
                totals.setdefault(tool, Totals()).merge(one)
        rows = [self._row(source, tools) for source, tools in sorted(self._sources.items())]
        books = Books(begun=sum(row.begun for row in rows), complete=self._complete)
        found = all_stats(totals, Counter(), lambda _: 0, books)
        return FleetStats(**msgspec.structs.asdict(found), nodes=rows)

    def tool(self, name: str) -> ToolOfFleet:
        """One tool's statistics, and what each node knows of it."""
        whole = Totals()
        nodes = []
        for source, tools in sorted(self._sources.items()):
            if name in tools:
                whole.merge(tools[name])
                nodes.append(_of_tool(source, name, tools[name]))
        found = whole.stats(name, 0, 0, complete=self._complete)
        return ToolOfFleet(**msgspec.structs.asdict(found), nodes=nodes)

    def _row(self, source: _Source, tools: dict[str, Totals]) -> NodeRow:
        finished = sum(one.count for one in tools.values())
        aborted = sum(one.aborted for one in tools.values())
        return NodeRow(
            node=source.node,
            origin=source.origin,
            state="collected",
            age_s=0.0,
            begun=finished + aborted,
            total_calls=finished,
            errors=sum(one.errors for one in tools.values()),
            aborted=aborted,
            complete=self._complete,
        )


def past(database: Database, manifests: list[Manifest], times: Times) -> Past:
    """What *database* (see `reading`) holds of those *times*; StoreError."""
    sources: dict[_Source, dict[str, Totals]] = {}
    for row in database.query(_COUNTS.format(condition=times.of("began"))).rows:
        node, origin, tool, *figures = row
        sources.setdefault(_Source(str(node), str(origin)), {})[str(tool)] = _totals(figures)
    for row in database.query(_BUCKETS.format(condition=times.of("began"))).rows:
        node, origin, tool, bucket, count = row
        totals = sources[_Source(str(node), str(origin))][str(tool)]
        totals.histogram[int(bucket)] = int(count)
    stored = [one for manifest in manifests for one in manifest.origins]
    complete = not any(one.missing or one.dropped for one in stored)
    return Past(sources, complete=complete)


# What is summed has no end in DuckDB; ours has.
_COUNTS = """
SELECT node, origin, tool, sum(calls), sum(errors), sum(aborted), sum(sampled_out), sum(sum_ns),
    min(min_ns), max(max_ns), sum(zero_count), epoch_us(max(ended)), sum(untimed)
FROM totals WHERE {condition} GROUP BY ALL
"""
_BUCKETS = """
SELECT node, origin, tool, bucket, sum(calls) FROM (
    SELECT node, origin, tool, unnest(map_keys(histogram)) AS bucket,
        unnest(map_values(histogram)) AS calls
    FROM totals WHERE {condition}
) WHERE bucket BETWEEN -480 AND 530 GROUP BY ALL
"""


def _totals(figures: list[object]) -> Totals:
    known = [None if one is None else min(int(str(one)), _MOST_NS) for one in figures]
    count, errors, aborted, sampled, sum_ns, least, most, zeros, ended_us, untimed = known
    if min(one or 0 for one in known) < 0:
        raise StoreError("found totals of which some are negative")
    return Totals(
        count=count or 0,
        errors=errors or 0,
        aborted=aborted or 0,
        sampled_out=sampled or 0,
        sum_ns=sum_ns or 0,
        min_ns=least,
        max_ns=most,
        zero_count=zeros or 0,
        last_ended_ns=(ended_us or 0) * 1000,
        untimed=untimed or 0,
    )


def _of_tool(source: _Source, tool: str, totals: Totals) -> NodeTool:
    told = totals.stats(tool, 0, 0)
    return NodeTool(
        node=source.node,
        origin=source.origin,
        count=told.count,
        errors=told.errors,
        aborted=told.aborted,
        p50_s=told.p50_s,
        p95_s=told.p95_s,
    )
