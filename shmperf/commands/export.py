"""
``shmperf export``: kept calls in a format of the exporters' table, to a file or to a pipe.

Without a format it lists them.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from shmperf.errors import StoreError
from shmperf.exporters import table
from shmperf.exporters.output import write_private, write_stream
from shmperf.exporters.selection import Selection, parse_time
from shmperf.query.answers import Answers
from shmperf.storage.kept import KeptCall
from shmperf.storage.segmentfile import Window
from shmperf.views.formatting import printable

from .arguments import add_reader, records_of, show
from .ending import unwound
from .nearest import refuse_unknown

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    rows = (*table.EXPORTERS, *table.OF_FIGURES)
    names = [row.name for row in rows]
    formats = "; ".join(f"{row.name}: {row.help}" for row in rows)
    parser.add_argument("format", nargs="?", metavar="FORMAT", choices=names, help=formats)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="- for standard output, which is the default"
    )
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
    if given.format is None:
        return show(given, [*map(_told, (*table.EXPORTERS, *table.OF_FIGURES))], _listed)
    if table.row_of(given.format) in table.OF_FIGURES:
        return _export_figures(given)
    if not table.row_of(given.format).is_text:
        _refuse_to_show(given)
    answers = records_of(given)
    selection = Selection(since=given.since, until=given.until, parameters=not given.no_parameters)
    window = Window(since=given.since, until=given.until)
    calls = _calls(answers, list(dict.fromkeys(given.tool)), window)
    books = _books(answers, given.tool)
    make = table.exporter_of(given.format, given.output or "", answers.storage)
    chunks = make(selection.choose(calls))
    _write(given, chunks)
    _tell(given, selection, books)
    return 0


def _export_figures(given: Namespace) -> int:
    if given.since is not None or given.until is not None:
        raise StoreError(f"{given.format} counts all calls: --since and --until are for kept ones")
    answers, tools = records_of(given), list(dict.fromkeys(given.tool))
    for tool in tools:
        refuse_unknown(answers, tool)
    made = table.exporter_of(given.format)(answers, tools)
    _write(given, made)
    if given.json:
        is_free = given.output not in (None, "-")
        answer = {"format": given.format, "file": given.output}
        print(json.dumps(answer), file=sys.stdout if is_free else sys.stderr)
    return 0


def _write(given: Namespace, chunks: Iterable[bytes]) -> None:
    with unwound():
        if given.output in (None, "-"):
            write_stream(sys.stdout.buffer, _shown(chunks) if sys.stdout.isatty() else chunks)
        else:
            write_private(Path(given.output), chunks)


def _told(row: table.Exporter) -> dict[str, Any]:
    return {"format": row.name, "for": row.help, "text": row.is_text}


def _listed(formats: Sequence[Mapping[str, Any]]) -> str:
    width = max(len(row["format"]) for row in formats)
    rows = [f"    {row['format'].ljust(width)}  {row['for']}" for row in formats]
    return "\n".join(["shmperf export FORMAT [-o FILE]", "", *rows])


def _refuse_to_show(given: Namespace) -> None:
    """Bytes go to a file, or to a pipe where one is asked for."""
    if given.output is None or (given.output == "-" and sys.stdout.isatty()):
        raise StoreError(f"{given.format} is no text: name a file for it with -o")


def _calls(answers: Answers, tools: Sequence[str], window: Window) -> Iterator[KeptCall]:
    """The kept calls of *tools*, or of all; StoreError for a tool that was never called."""
    every = answers.calls(window=window)  # raises where there is no storage
    if not tools:
        return every
    for tool in tools:
        refuse_unknown(answers, tool)
    return chain.from_iterable(answers.calls(tool, window=window) for tool in tools)


class _Books(NamedTuple):
    """Of the tools that were asked for: calls that were made, and those of them in the history."""

    made: int
    kept: int


def _books(answers: Answers, tools: Sequence[str]) -> _Books:
    rows: Mapping[str, Any] = answers.stats()["tool_stats"]
    wanted = [row for tool, row in rows.items() if not tools or tool in tools]
    made = sum(row["count"] + row["aborted"] for row in wanted)
    return _Books(made, sum(row["current_size"] for row in wanted))


def _shown(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """For a terminal: control characters as escapes."""
    for chunk in chunks:
        lines = chunk.decode("utf-8", "backslashreplace").split("\n")
        yield "\n".join(printable(line.removesuffix("\r")) for line in lines).encode()


def _tell(given: Namespace, selection: Selection, books: _Books) -> None:
    """How many calls these are; JSON where no export fills standard output, else beside it."""
    count, made = selection.count, books.made
    if given.json:
        is_free = given.output not in (None, "-")
        answer = {"format": given.format, "file": given.output, "calls": count, "of": made}
        print(json.dumps(answer), file=sys.stdout if is_free else sys.stderr)
    elif given.since is not None or given.until is not None:
        # Those of another time are not missing. A file may hold more than is promised.
        kept = max(count, books.kept)
        if kept < made:
            told = f"{count:,} calls; {kept:,} of {made:,} calls are kept, of all times"
            print(f"shmperf: {told}", file=sys.stderr)
    elif count < made:
        print(f"shmperf: {count:,} of {made:,} calls", file=sys.stderr)
