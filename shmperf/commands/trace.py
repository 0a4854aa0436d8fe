"""``shmperf trace``: one call, what lay below it, and when."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shmperf.query.story import is_id, story_of
from shmperf.views import waterfall

from .arguments import add_reader, records_of, show
from .nearest import refuse_unknown

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument(
        "call", metavar="ID|TOOL", help="a call's 16 hexadecimal digits, or a tool: its slowest"
    )


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    answers = records_of(given)
    if not is_id(given.call):
        refuse_unknown(answers, given.call)
    return show(given, story_of(answers, given.call), waterfall.call)
