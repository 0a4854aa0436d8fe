"""``shmperf status``: session, collector, storage, workers; with ``--wait`` once one drains."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from shmperf.errors import SessionError
from shmperf.query.answers import find_answers
from shmperf.session.messages import Ping
from shmperf.views import terminal

from .arguments import add_reader, records_of, request_of, show

__all__ = ["add_arguments", "run"]

_POLL_S = 0.02


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("--wait", action="store_true", help="return once a collector drains")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="for --wait (default: 30)"
    )


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    if given.wait:
        _wait(given)
    return show(given, records_of(given).status(), terminal.status)


def _wait(given: Namespace) -> None:
    """Until a collector answers; SessionError when none does in time."""
    deadline = time.monotonic() + given.timeout
    while True:
        try:
            # Of a program that has not begun yet there may be no storage either.
            find_answers(request_of(given)).ask(Ping(), given.timeout)
            return
        except SessionError:
            if time.monotonic() > deadline:
                raise SessionError("no collector came up in time") from None
            time.sleep(_POLL_S)
