"""``shmperf cleanup``: forget statistics and delete history, with or without a collector."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shmperf.errors import SessionError
from shmperf.query.answers import Answers, check_storage
from shmperf.session.messages import Cleanup
from shmperf.session.rendezvous import Request
from shmperf.views.formatting import printable

from .arguments import add_reader, answers_for, request_of, show
from .nearest import holds_records

__all__ = ["add_arguments", "clean_up", "run"]

_CLEANUP_WAIT_S = 60.0


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("--force", action="store_true", help="whatever cleanup_on_optimize says")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    answers = answers_for(given)
    if answers.session is None and not holds_records(answers.storage):
        said = f"nothing was recorded in {answers.storage}, so there is nothing to forget"
        return show(given, {"cleaned": False}, lambda _: printable(said))
    check_storage(answers)
    if not clean_up(request_of(given), answers, force=given.force):
        raise SessionError("optimization.cleanup_on_optimize is false; use: cleanup --force")
    return show(given, {"cleaned": True}, lambda _: "history and statistics are forgotten")


def clean_up(request: Request, answers: Answers, *, force: bool) -> bool:
    """Forget what *answers* of *request* tell; False where the configuration forbids it."""
    if answers.has_collector:
        return bool(answers.ask(Cleanup(force), _CLEANUP_WAIT_S))
    from shmperf.collector.service import cleanup_at_rest  # noqa: PLC0415  psutil and all the rest

    return bool(cleanup_at_rest(request, force=force))
