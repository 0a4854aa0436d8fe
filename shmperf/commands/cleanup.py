"""``shmperf cleanup``: forget statistics and delete history, with or without a collector."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shmperf.errors import SessionError
from shmperf.session.messages import Cleanup

from .arguments import add_reader, answers_for, request_of, show

__all__ = ["add_arguments", "run"]

_CLEANUP_WAIT_S = 60.0


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("--force", action="store_true", help="whatever cleanup_on_optimize says")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    if not _clean_up(given):
        raise SessionError("optimization.cleanup_on_optimize is false; use: cleanup --force")
    return show(given, {"cleaned": True}, lambda _: "history and statistics are forgotten")


def _clean_up(given: Namespace) -> bool:
    answers = answers_for(given)
    if answers.has_collector:
        return bool(answers.ask(Cleanup(given.force), _CLEANUP_WAIT_S))
    from shmperf.collector.service import cleanup_at_rest  # noqa: PLC0415  psutil and all the rest

    return bool(cleanup_at_rest(request_of(given), force=given.force))
