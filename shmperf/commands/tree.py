"""``shmperf tree``: which tool calls which, with calls, total and own time, and percentiles."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from shmperf.views.tree import call_tree

from .arguments import add_reader as add_arguments
from .arguments import records_of, show

__all__ = ["add_arguments", "run"]


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    answers = records_of(given)
    edges = answers.tree()
    tools = {} if given.json else answers.stats()["tool_stats"]
    return show(given, edges, partial(call_tree, tools=tools))
