"""``shmperf alerts``: what turned bad, since when, and whether it is over."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shmperf.query.answers import check_storage
from shmperf.views import troubles

from .arguments import add_reader, answers_for, show
from .nearest import refuse_missing

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("--open", action="store_true", help="only what is not over")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    answers = answers_for(given)
    refuse_missing(answers)
    check_storage(answers)
    found = [alert for alert in answers.alerts() if not (given.open and alert.ended)]
    return show(given, {"alerts": found}, troubles.alerts)
