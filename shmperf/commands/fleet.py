"""
``shmperf fleet``: answers of all nodes, by what each has said of itself at the broker.

Its verbs are rows of a table: a name, a line, and two functions like those of a command's module,
``add_arguments(parser)`` and ``run(given)``.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shmperf.errors import ShmperfError, StoreError
from shmperf.views import fleet as views
from shmperf.views import terminal
from shmperf.views.formatting import printable
from shmperf.views.tree import call_tree

from .arguments import add_rows, show
from .fleetcollect import add_check, add_collect, check, collect
from .fleetpast import add_sql, past_errors, past_slow, past_stats, past_tree, sql
from .fleetreach import add_fleet, reach
from .nearest import did_you_mean

if TYPE_CHECKING:
    from shmperf.fleet.asking import Look

__all__ = ["VERBS", "Verb", "add_arguments", "asked", "run"]

_LONGEST = 100


class Verb(NamedTuple):
    """One row: what is typed behind ``fleet``, its line, and what it does."""

    name: str
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def add_arguments(parser: ArgumentParser) -> None:
    """Its verbs, each with its arguments."""
    verbs = parser.add_subparsers(metavar="VERB", title="verbs", required=True)
    for verb in VERBS:
        one = verbs.add_parser(
            verb.name, help=verb.help, description=f"{verb.help[0].upper()}{verb.help[1:]}."
        )
        verb.add_arguments(one)
        one.set_defaults(do_verb=verb.run)


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    code: int = given.do_verb(given)
    return code


@contextmanager
def asked(given: Namespace) -> Iterator[Look]:
    """What all nodes have said by now, of one node where one is named."""
    from shmperf.fleet.asking import States  # noqa: PLC0415  for those who have a fleet

    reached = reach(given, "shmperf fleet")
    try:
        look = States(reached.engine).look()
        yield look if given.node is None else _of_node(look, given.node)
    finally:
        reached.engine.close()


def _of_node(look: Look, name: str) -> Look:
    names = {row.node for row in look.rows}
    if name not in names:
        found = f"no node {printable(name, _LONGEST)!r} has published"
        raise StoreError(found + did_you_mean(name, names))
    return look.of_node(name)


def _refuse_unknown(look: Look, tool: str | None) -> None:
    """Raise StoreError, which names the nearest tool, when no node knows *tool*."""
    names = look.names()
    if tool is None or tool in names:
        return
    found = f"no node has recorded calls of {printable(tool, _LONGEST)!r}"
    raise StoreError(found + did_you_mean(tool, names))


# --- verbs ---------------------------------------------------------------------------------------


def _add_asker(parser: ArgumentParser) -> None:
    add_fleet(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--node", metavar="NAME", help="of that node alone")


def _add_times(parser: ArgumentParser) -> None:
    """Of verbs that answer of the past, too."""
    _add_asker(parser)
    parser.add_argument(
        "--from", dest="place", metavar="PLACE", help="of the past: what was collected there"
    )
    parser.add_argument("--since", metavar="T", help="there from then on: an ISO time, or -10m")
    parser.add_argument("--until", metavar="T", help="there up to then")


def _is_of_the_past(given: Namespace) -> bool:
    if given.place is None and (given.since is not None or given.until is not None):
        raise ShmperfError("--since and --until need --from: nodes tell of themselves as of now")
    return given.place is not None


def _add_stats(parser: ArgumentParser) -> None:
    _add_times(parser)
    parser.add_argument("tool", nargs="?", metavar="TOOL")


def _stats(given: Namespace) -> int:
    if _is_of_the_past(given):
        return show(given, past_stats(given), views.stats)
    with asked(given) as look:
        _refuse_unknown(look, given.tool)
        found = look.stats() if given.tool is None else look.tool(given.tool)
    return show(given, found, views.stats)


def _add_tree(parser: ArgumentParser) -> None:
    _add_asker(parser)
    parser.add_argument(
        "--from",
        dest="place",
        metavar="PLACE",
        help="of the calls collected there, from node to node",
    )


def _tree(given: Namespace) -> int:
    if given.place is not None:
        if given.node is not None:
            raise ShmperfError("--node goes without --from: that tree goes from node to node")
        return show(given, past_tree(given), call_tree)
    with asked(given) as look:
        edges, tools = look.merged.tree(), {} if given.json else look.merged.stats().tool_stats
    return show(given, edges, partial(call_tree, tools=msgspec.to_builtins(tools)))


def _add_rows(parser: ArgumentParser) -> None:
    _add_times(parser)
    add_rows(parser)


def _slow(given: Namespace) -> int:
    if _is_of_the_past(given):
        return show(given, past_slow(given), terminal.slowest)
    with asked(given) as look:
        _refuse_unknown(look, given.tool)
        found = look.merged.slowest(given.limit, given.tool)
    return show(given, found, terminal.slowest)


def _errors(given: Namespace) -> int:
    if _is_of_the_past(given):
        return show(given, past_errors(given), terminal.errors)
    with asked(given) as look:
        _refuse_unknown(look, given.tool)
        found = look.merged.errors(given.tool)[: given.limit]
    return show(given, found, terminal.errors)


def _nodes(given: Namespace) -> int:
    with asked(given) as look:
        rows = look.rows
    return show(given, rows, views.nodes)


def _add_forget(parser: ArgumentParser) -> None:
    add_fleet(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("node", metavar="NODE")


def _forget(given: Namespace) -> int:
    from shmperf.fleet.forgetting import forget  # noqa: PLC0415  for those who have a fleet

    reached = reach(given, "shmperf fleet")
    try:
        gone, alive = forget(reached.engine, given.node)
    finally:
        reached.engine.close()
    node = printable(given.node, _LONGEST)
    if not gone:
        why = "is alive, and would tell it again" if alive else "has not published"
        raise StoreError(f"node {node!r} {why}")
    calls = sum(row.total_calls for row in gone)
    said = f"{node}: {len(gone)} of its storages forgotten, with {calls:,} calls"
    return show(given, gone, lambda _: said)


VERBS = (
    Verb("stats", "calls and durations of every tool on all nodes, or of one", _add_stats, _stats),
    Verb("tree", "which tool calls which, on all nodes", _add_tree, _tree),
    Verb("slow", "the slowest calls, and where they ran", _add_rows, _slow),
    Verb("errors", "failed calls by cause, and where they failed", _add_rows, _errors),
    Verb("nodes", "the nodes: how they are, their books, what waits", _add_asker, _nodes),
    Verb("forget", "leave a node that is gone for good out of all answers", _add_forget, _forget),
    Verb("sql", "ask in SQL: nodes and tools as of now, or what was collected", add_sql, sql),
    Verb("collect", "write what nodes publish to Parquet, each line once", add_collect, collect),
    Verb("check", "whether what was published is stored, node by node", add_check, check),
)
