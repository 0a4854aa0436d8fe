"""``shmperf diff``: what got slower between two runs, by how much, and how sure that is."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace

import msgspec

from shmperf.analysis.conditions import Broken, Condition, ConditionError, broken, unmatched
from shmperf.analysis.diff import Comparison, Measured, ToolComparison, compare
from shmperf.errors import StoreError
from shmperf.query.changed import measured_in
from shmperf.views import comparison
from shmperf.views.formatting import printable

from .arguments import add_reader, records_of, show
from .nearest import did_you_mean
from .sources import read_source

__all__ = ["BROKEN", "add_arguments", "run"]

# The exit code when a condition is broken.
BROKEN = 3


class _Answer(msgspec.Struct, kw_only=True):
    """What ``--json`` prints."""

    tools: dict[str, ToolComparison]
    failed: list[Broken]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("a", metavar="A", help="before: a storage directory, DIR@FROM..TO, a file")
    parser.add_argument("b", metavar="B", nargs="?", help="after: the same (what is recorded here)")
    add_reader(parser)
    parser.add_argument("--tool", metavar="T", help="only this tool")
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        type=_condition,
        metavar="EXPR",
        help=f"exit {BROKEN} when sure: 'p95>+10%%', 'search:p50>+20%%', 'errors>+1' (points)",
    )


def _condition(text: str) -> Condition:
    try:
        return Condition.parse(text)
    except ConditionError as error:
        raise ArgumentTypeError(str(error)) from None


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    a, b = read_source(given.a), _after(given)
    found = compare(a, b)
    if given.tool is not None:
        found = _of_one(found, given.tool)
    failed = list(broken(given.fail_if, found))
    answer = _Answer(tools={tool: found.of(tool) for tool in found.tools}, failed=failed)
    show(given, answer, comparison.compared)
    for text in unmatched(given.fail_if, found):
        print(f"shmperf: no tool was called on both sides of {printable(text)!r}", file=sys.stderr)
    return BROKEN if failed else 0


def _after(given: Namespace) -> dict[str, Measured]:
    if given.b is None:
        return measured_in(records_of(given))
    if given.storage is not None or given.session is not None:
        raise StoreError("B is given twice: by name, and by --storage or --session")
    return read_source(given.b)


def _of_one(found: Comparison, tool: str) -> Comparison:
    if tool not in found.tools:
        hint = did_you_mean(tool, found.tools)
        raise StoreError(f"no calls of {printable(tool)!r} on either side{hint}")
    return compare(found.a, found.b, tool)
