"""``shmperf slow``: the slowest calls kept."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from heapq import nlargest

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
    answers = records_of(given, given.tool)
    ended = (call for call in answers.calls(given.tool) if call.duration_s is not None)
    slowest = nlargest(given.limit, ended, key=lambda call: call.duration_s or 0.0)
    return show(given, msgspec.to_builtins(slowest), terminal.slowest)
