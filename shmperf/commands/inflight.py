"""``shmperf inflight``: the calls that are open now, with the stack of each where asked for."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable

from shmperf.shm.mask import Mask
from shmperf.views.formatting import printable
from shmperf.views.opened import open_calls, stacked_calls

from .arguments import add_reader, records_of, show
from .stacks import Stacks

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("--stacks", action="store_true", help="where each call is, by py-spy")
    parser.add_argument(
        "--locals", action="store_true", help="with --stacks: local variables, secrets masked"
    )
    parser.set_defaults(refuse=parser.error)


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    if given.locals and not given.stacks:
        given.refuse("--locals goes with --stacks")
    if given.locals and given.json:
        given.refuse("--locals is for terminals: local variables are not written to files")
    answers = records_of(given)
    calls = answers.in_flight()
    if not given.stacks or not calls:
        return show(given, calls, open_calls)
    capture = answers.options.capture
    mask = Mask(capture.secret_keys, capture.secret_words)
    stacks = Stacks(mask, with_locals=given.locals)
    found = stacks.of(calls)
    still_open = {call.id for call in answers.in_flight()}
    for call in found:
        if call.stack is None and call.id not in still_open:
            call.stack_problem = "it has ended meanwhile"
    code = show(given, found, stacked_calls)
    _tell(stacks.problems.values())
    # Something was asked for that nobody could see.
    return code if len(stacks.problems) < len({call.pid for call in calls}) else 1


def _tell(problems: Iterable[str]) -> None:
    for problem in dict.fromkeys(problems):
        print(f"shmperf: no stacks: {printable(problem)}", file=sys.stderr)
