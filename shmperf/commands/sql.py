"""``shmperf sql``: ask the records in SQL."""

from __future__ import annotations

import json
import math
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import Any

from shmperf.exporters.database import Database, opened
from shmperf.query.answers import Answers
from shmperf.views.rows import found_rows
from shmperf.views.terminal import console_for

from .arguments import add_reader, records_of
from .ending import unwound

__all__ = ["add_arguments", "query_of", "run", "show_found"]

_MOST_SHOWN = 1_000
_PIECE = 1_000


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument(
        "query", metavar="QUERY", help="SQL over calls, tools and intervals; - reads standard input"
    )


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    query = query_of(given)
    answers = records_of(given)
    with unwound(), opened() as database:
        _fill(database, answers, query)
        show_found(database, query, as_json=given.json)
    return 0


def show_found(database: Database, query: str, *, as_json: bool) -> None:
    """Print what *query* finds in *database*, as a list of objects or as a table."""
    found = database.query(query)
    if as_json:
        _write_json(found.names, found.rows)
        return
    shown = list(islice(found.rows, _MOST_SHOWN))
    more = sum(1 for _ in found.rows)
    console_for(sys.stdout).print(found_rows(found.names, shown, more))


def query_of(given: Namespace) -> str:
    """What was typed, or what standard input says."""
    return sys.stdin.read() if given.query == "-" else str(given.query)


def _fill(database: Database, answers: Answers, query: str) -> None:
    """What *query* may ask for; calls, of which there may be millions, only if it names them."""
    figures = answers.figures()
    database.add_tools(figures)
    database.add_intervals(answers.intervals())
    database.add_percentile()
    if not re.search(r"\bcalls\b", query, re.IGNORECASE):
        return
    kept = database.add_calls(answers.calls())
    made = sum(totals.count + totals.aborted for totals in figures.totals.values())
    if kept < made:
        print(f"shmperf: calls has {kept:,} of {made:,} calls", file=sys.stderr)


def _write_json(names: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    """A list of objects, one a line, as they come."""
    parting = "["
    for row in rows:
        values = map(_plain, row)
        print(parting, json.dumps(dict(zip(names, values, strict=True))), sep="\n", end="")
        parting = ","
    print("[]" if parting == "[" else "\n]")


def _plain(value: Any) -> Any:
    """*value* as strict JSON has it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _plain(float(value))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
