"""``shmperf mode``: show or switch the mode of a session."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shmperf.query.switching import switch_mode

from .arguments import add_reader, records_of, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("mode", nargs="?", choices=("normal", "optimization"), metavar="MODE")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    answers = records_of(given)
    mode = answers.mode() if given.mode is None else switch_mode(answers, given.mode)
    return show(given, {"mode": mode}, lambda answer: answer["mode"])
