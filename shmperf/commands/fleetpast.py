"""``shmperf fleet sql``, and ``stats --from``: what was collected, or nodes tell, as tables."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from shmperf.analysis.treestate import Edge
from shmperf.errors import ShmperfError, StoreError
from shmperf.exporters.database import Database, opened
from shmperf.exporters.selection import parse_time
from shmperf.fleet import pastcalls
from shmperf.fleet.across import graph
from shmperf.fleet.asking import FleetStats, States, ToolOfFleet
from shmperf.fleet.livetables import add_tables
from shmperf.fleet.manifest import manifests_in
from shmperf.fleet.merging import NodeCall, NodeErrors
from shmperf.fleet.objects import opened_objects
from shmperf.fleet.past import Past, Times, past
from shmperf.fleet.reading import opened_records
from shmperf.views.formatting import printable

from .ending import unwound
from .fleetreach import add_fleet, reach
from .nearest import did_you_mean
from .sql import query_of, show_found

__all__ = ["add_sql", "past_errors", "past_slow", "past_stats", "past_tree", "sql"]

_LONGEST = 100
_PLACE = "what was collected: a directory, or s3://bucket/path"


def add_sql(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_fleet(parser)
    parser.add_argument("--from", dest="place", metavar="PLACE", help=_PLACE)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "query",
        metavar="QUERY",
        help="SQL over nodes and tools, as nodes tell of them now, or with --from over calls, "
        "totals and alerts; - reads standard input",
    )


def sql(given: Namespace) -> int:
    """Do it; the exit code."""
    query = query_of(given)
    with unwound(), _asked(given) as database:
        show_found(database, query, as_json=given.json)
    return 0


@contextmanager
def _asked(given: Namespace) -> Iterator[Database]:
    if given.place is not None:
        with opened_records(opened_objects(given.place)) as database:
            yield database
        return
    reached = reach(given, "shmperf fleet")
    try:
        look = States(reached.engine).look()
    finally:
        reached.engine.close()
    with opened() as database:
        add_tables(database, look)
        yield database


def past_slow(given: Namespace) -> list[NodeCall]:
    """The slowest calls of a time in what was collected."""
    times = _times(given)
    with unwound(), _calls(given) as database:
        return pastcalls.slowest(database, times, given.limit, given.tool, given.node)


def past_errors(given: Namespace) -> list[NodeErrors]:
    """Failed calls of a time in what was collected, by cause."""
    times = _times(given)
    with unwound(), _calls(given) as database:
        return pastcalls.errors(database, times, given.tool, given.node)[: given.limit]


@contextmanager
def _calls(given: Namespace) -> Iterator[Database]:
    """What was collected; StoreError, which names the nearest, for a tool or node without calls."""
    with opened_records(opened_objects(given.place)) as database:
        for what, name, known in (
            ("node", given.node, pastcalls.nodes),
            ("tool", given.tool, pastcalls.names),
        ):
            names = set[str]() if name is None else known(database)
            if name is not None and name not in names:
                said = f"no calls of a {what} {printable(name, _LONGEST)!r} were collected"
                raise StoreError(said + did_you_mean(name, names))
        yield database


def past_stats(given: Namespace) -> FleetStats | ToolOfFleet:
    """The statistics of a time in what was collected, of all tools or of one."""
    with unwound(), _past(given) as whole:
        found = whole if given.node is None else _of_node(whole, given.node)
        if given.tool is None:
            return found.stats()
        names = found.names()
        if given.tool not in names:
            said = f"no calls of {printable(given.tool, _LONGEST)!r} were collected then"
            raise StoreError(said + did_you_mean(given.tool, names))
        return found.tool(given.tool)


def _of_node(found: Past, name: str) -> Past:
    nodes = found.nodes()
    if name not in nodes:
        said = f"nothing of a node {printable(name, _LONGEST)!r} was collected then"
        raise StoreError(said + did_you_mean(name, nodes))
    return found.of_node(name)


def past_tree(given: Namespace) -> list[Edge]:
    """The call graph of what was collected, from node to node."""
    with unwound(), opened_records(opened_objects(given.place)) as database:
        return graph(database)


def _times(given: Namespace) -> Times:
    now = datetime.now(UTC)
    try:
        since, until = (
            None if text is None else parse_time(text, now) for text in (given.since, given.until)
        )
    except ValueError as error:
        raise ShmperfError(str(error)) from None
    return Times(since, until)


@contextmanager
def _past(given: Namespace) -> Iterator[Past]:
    times = _times(given)
    objects = opened_objects(given.place)
    manifests = manifests_in(objects)
    with opened_records(objects, manifests) as database:
        yield past(database, manifests, times)
