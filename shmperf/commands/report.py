"""``shmperf report``: what the page shows, as one file that opens from disk."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from shmperf.analysis.diff import Against, compare
from shmperf.exporters.output import write_private, write_stream
from shmperf.query.changed import measured_in
from shmperf.views.formatting import printable, size
from shmperf.views.report import made_report

from .arguments import add_against, add_reader, records_of, show
from .ending import unwound
from .sources import read_source

__all__ = ["add_arguments", "run"]

_FILE = "shmperf-report.html"


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default=_FILE,
        help=f"({_FILE}); - for standard output",
    )
    add_against(parser)
    parser.add_argument(
        "--no-parameters",
        action="store_true",
        help="leave out parameters, and messages that may quote them",
    )


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    before = None if given.against is None else read_source(given.against)
    answers = records_of(given)
    against = None
    if before is not None:
        against = Against(given.against, compare(before, measured_in(answers)))
    with unwound():
        page = made_report(answers, against, with_parameters=not given.no_parameters)
        if given.output == "-":
            write_stream(sys.stdout.buffer, [page])
            if given.json:
                print(json.dumps({"path": None, "bytes": len(page)}), file=sys.stderr)
            return 0
        write_private(Path(given.output), [page])
    return show(given, {"path": given.output, "bytes": len(page)}, _told)


def _told(written: dict[str, Any]) -> str:
    return f"report: {printable(written['path'])} ({size(written['bytes'])})"
