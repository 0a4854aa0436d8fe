"""``shmperf mode``: show or switch the mode of a session."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shmperf.errors import SessionError

from .arguments import add_reader, records_of, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("mode", nargs="?", choices=("normal", "optimization"), metavar="MODE")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    answers = records_of(given)
    if given.mode is not None:
        if answers.session is None:
            raise SessionError("there is no session to switch; start one, or use run --optimize")
        answers.session.settings.set_mode(given.mode == "optimization")
    return show(given, {"mode": answers.mode()}, lambda answer: answer["mode"])
