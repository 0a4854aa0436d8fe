"""``shmperf export``: kept calls in a format of the exporters' table, to a file or to a pipe."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from shmperf.exporters import table
from shmperf.exporters.output import write_private, write_stream
from shmperf.exporters.selection import Selection, parse_time
from shmperf.query import Answers
from shmperf.storage.kept import KeptCall
from shmperf.storage.segmentfile import Window
from shmperf.views.formatting import printable

from .arguments import add_reader, records_of
from .nearest import refuse_unknown

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    names = [row.name for row in table.EXPORTERS]
    formats = "; ".join(f"{row.name}: {row.help}" for row in table.EXPORTERS)
    parser.add_argument("format", metavar="FORMAT", choices=names, help=formats)
    parser.add_argument("-o", "--output", metavar="FILE", help="(default: standard output)")
    parser.add_argument(
        "--tool", action="append", default=[], metavar="T", help="only this tool; may be repeated"
    )
    parser.add_argument(
        "--since", type=_moment, metavar="T", help="started then or later: ISO (UTC), or -10m"
    )
    parser.add_argument("--until", type=_moment, metavar="T", help="started before then")
    parser.add_argument("--no-parameters", action="store_true", help="leave parameters out")


def _moment(text: str) -> str:
    try:
        return parse_time(text, datetime.now(UTC))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    answers = records_of(given)
    selection = Selection(since=given.since, until=given.until, parameters=not given.no_parameters)
    window = Window(since=given.since, until=given.until)
    calls = _calls(answers, list(dict.fromkeys(given.tool)), window)
    made = _calls_made(answers, given.tool)
    chunks = table.exporter_of(given.format)(selection.choose(calls))
    if given.output:
        write_private(Path(given.output), chunks)
    else:
        write_stream(sys.stdout.buffer, _shown(chunks) if sys.stdout.isatty() else chunks)
    _tell(given, selection.count, made)
    return 0


def _calls(answers: Answers, tools: Sequence[str], window: Window) -> Iterator[KeptCall]:
    """The kept calls of *tools*, or of all; StoreError for a tool that was never called."""
    every = answers.calls(window=window)  # raises where there is no storage
    if not tools:
        return every
    for tool in tools:
        refuse_unknown(answers, tool)
    return chain.from_iterable(answers.calls(tool, window=window) for tool in tools)


def _calls_made(answers: Answers, tools: Sequence[str]) -> int:
    rows: Mapping[str, Any] = answers.stats()["tool_stats"]
    wanted = [row for tool, row in rows.items() if not tools or tool in tools]
    return sum(row["count"] + row["aborted"] for row in wanted)


def _shown(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """For a terminal: control characters as escapes."""
    for chunk in chunks:
        lines = chunk.decode("utf-8", "backslashreplace").split("\n")
        yield "\n".join(printable(line.removesuffix("\r")) for line in lines).encode()


def _tell(given: Namespace, count: int, made: int) -> None:
    """How many calls these are; JSON where no export fills standard output, else beside it."""
    if given.json:
        answer = {"format": given.format, "file": given.output, "calls": count, "of": made}
        print(json.dumps(answer), file=sys.stdout if given.output else sys.stderr)
    elif count < made:
        print(f"shmperf: {count:,} of {made:,} calls", file=sys.stderr)
