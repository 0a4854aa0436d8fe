"""``shmperf slow``: the slowest calls."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

import msgspec

from shmperf.views import terminal

from .arguments import add_reader, add_rows, records_of, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    add_rows(parser)


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    slowest = records_of(given, given.tool).slowest(given.limit, given.tool)
    return show(given, msgspec.to_builtins(slowest), terminal.slowest)
