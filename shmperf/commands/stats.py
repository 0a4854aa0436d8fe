"""``shmperf stats``: calls and durations of every tool, or of one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shmperf.views import terminal

from .arguments import add_reader, records_of, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("tool", nargs="?", metavar="TOOL")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    return show(given, records_of(given, given.tool).stats(given.tool), terminal.stats)
