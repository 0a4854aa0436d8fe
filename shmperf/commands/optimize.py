"""``shmperf optimize``: a run in detail, and what it advises; or the newest report."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import msgspec

from shmperf.errors import NoAnswer, SessionError, StoreError
from shmperf.query.answers import Answers
from shmperf.session.messages import Optimize
from shmperf.storage.reports import names, newest
from shmperf.views.runs import RunReport, progress

from .arguments import add_reader, answers_for, positive, show

__all__ = ["add_arguments", "run"]

_POLL_S = 0.1
# What a collector may take for one answer while it is busy, and the writing of a report.
_ANSWER_S = 30.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LONGEST_S, _MOST_CALLS = 86_400.0, 1_000_000


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("--seconds", type=_seconds, metavar="S", help="how long at most")
    parser.add_argument("--calls", type=_calls, metavar="N", help="how many calls at most")
    parser.add_argument("--keep", action="store_true", help="leave the records of before")
    parser.add_argument("--last", action="store_true", help="print the newest report, run nothing")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    answers = answers_for(given)
    if given.last:
        found = newest(answers.storage)
        if found is None:
            raise StoreError(f"no report of a run in {answers.storage}; see: shmperf optimize")
        return show(given, found[1], RunReport)
    request = Optimize(secrets.token_hex(8), given.seconds, given.calls, given.keep)
    _on_end(_end)
    try:
        report = _wait(answers, request)
    except _Ended as ended:
        # Who says it again wants to leave at once.
        _on_end(signal.SIG_DFL)
        show(given, _wait(answers, msgspec.structs.replace(request, ends=True)), RunReport)
        return 128 + ended.signal
    finally:
        _tell("")
    return show(given, report, RunReport)


class _Ended(BaseException):
    """Somebody has had enough, or their terminal is gone: nobody waits for the run any more."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def _end(number: int, _frame: object) -> None:
    raise _Ended(number)


def _on_end(deed: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in _ENDING:
        # What is ignored, by nohup for one, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, deed)


def _wait(answers: Answers, request: Optimize) -> dict[str, Any]:
    """The report of the run; asked for until it is over, also of the next collector."""
    if not answers.has_collector:
        raise NoAnswer("no collector is running: start the program whose calls you want to see")
    before = names(answers.storage)
    while True:
        try:
            found: dict[str, Any] = answers.ask(request, _ANSWER_S)
        except NoAnswer:
            # The session has ended, and the run with it.
            last = newest(answers.storage)
            if last is None or last[0] in before:
                raise
            report: dict[str, Any] = msgspec.to_builtins(last[1])
            return report
        if found["is_over"]:
            return _report_in(found)
        _tell(progress(found, found["left_s"]))
        time.sleep(min(_POLL_S, max(0.01, found["left_s"])))


def _report_in(found: Mapping[str, Any]) -> dict[str, Any]:
    report: dict[str, Any] | None = found["report"]
    if found["problem"]:
        print(f"shmperf: {found['problem']}", file=sys.stderr)
    if report is None:
        raise SessionError(f"the report {found['name']} can't be read any more")
    return report


def _tell(text: str) -> None:
    """One line on a terminal that the next one replaces."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"found {text}, expected more than 0 and at most {_LONGEST_S:.0f}"
        )
    return seconds


def _calls(text: str) -> int:
    if (calls := positive(text)) > _MOST_CALLS:
        raise argparse.ArgumentTypeError(f"found {text}, expected at most {_MOST_CALLS}")
    return calls
