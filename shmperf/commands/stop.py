"""``shmperf stop``: drain, write everything and end the collector."""

from __future__ import annotations

from argparse import Namespace

from shmperf.session.messages import Stop

from .arguments import add_reader as add_arguments
from .arguments import answers_for, show

__all__ = ["add_arguments", "run"]

_STOP_WAIT_S = 60.0


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    answers_for(given).ask(Stop(), _STOP_WAIT_S)
    return show(given, {"stopped": True}, lambda _: "stopped")
