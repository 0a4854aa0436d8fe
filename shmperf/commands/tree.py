"""``shmperf tree``: which tool calls which, with calls, total and own time."""

from __future__ import annotations

from argparse import Namespace

from shmperf.views.tree import call_tree

from .arguments import add_reader as add_arguments
from .arguments import records_of, show

__all__ = ["add_arguments", "run"]


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    return show(given, records_of(given).tree(), call_tree)
