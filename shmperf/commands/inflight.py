"""``shmperf inflight``: the calls that are open now."""

from __future__ import annotations

from argparse import Namespace

from shmperf.views import terminal

from .arguments import add_reader as add_arguments
from .arguments import records_of, show

__all__ = ["add_arguments", "run"]


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    return show(given, records_of(given).in_flight(), terminal.in_flight)
