"""``shmperf top``: what goes on, look by look, in a terminal."""

from __future__ import annotations

import os
import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from importlib.util import find_spec

from shmperf.query.answers import Answers, find_answers
from shmperf.query.look import Watch
from shmperf.views.plain import plainly
from shmperf.views.terminal import console_for

from .arguments import add_against, add_reader, positive, records_of, request_of, show
from .fleetreach import add_access, reach, source_of
from .sources import read_earlier

__all__ = ["add_arguments", "run"]

_LEAST_S, _MOST_S = 0.1, 3600.0


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    add_against(parser)
    parser.add_argument("--url", metavar="URL", help="of all nodes of the fleet there")
    add_access(parser)
    parser.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="S", help="between two looks (1)"
    )
    parser.add_argument("--plain", action="store_true", help="tables, one after the other")
    parser.add_argument("--count", type=positive, metavar="N", help="so many plain looks, then end")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _LEAST_S <= seconds <= _MOST_S:
        raise ArgumentTypeError(f"found {text}, expected {_LEAST_S} to {_MOST_S:.0f}")
    return seconds


def run(given: Namespace) -> int:
    """Look until somebody has had enough; the exit code."""
    if given.url:
        reached = reach(given, "shmperf top")
        try:
            return _show(given, source_of(reached).find)
        finally:
            reached.engine.close()
    if given.storage or given.session:
        # What was named and can't be found is told now; in the usual place it may still come.
        records_of(given)
    request, earlier = request_of(given), read_earlier(given.against)

    def find() -> Answers:
        answers = find_answers(request)
        answers.earlier = earlier
        return answers

    return _show(given, find)


def _show(given: Namespace, find: Callable[[], Answers]) -> int:
    watch = Watch(find)
    if given.json:
        return show(given, watch.look(), plainly)
    if given.plain or given.count or not _is_screen():
        return _plain(given, watch)
    from shmperf.views.live.app import Top  # noqa: PLC0415  half a second, and an extra

    top = Top(find, watch, given.interval)
    # As a key does it: the terminal is left as it was.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: top.exit())
    top.run()
    return top.return_code or 0


def _is_screen() -> bool:
    """True where a screen can be drawn on; without the extra that is said, once."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") in _DUMB:
        return False
    if not _is_utf8(sys.stdout.encoding):
        return False
    if find_spec("textual") is None:
        print("shmperf: for a live screen: pip install 'shmperf[top]'", file=sys.stderr)
        return False
    return True


_DUMB = frozenset({None, "", "dumb", "unknown"})


def _is_utf8(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("-", "").replace("_", "") == "utf8"


def _plain(given: Namespace, watch: Watch) -> int:
    """One table after another; on a terminal each in the place of the last."""
    console = console_for(sys.stdout)
    looks = 0
    while True:
        look = watch.look()
        if console.is_terminal and looks:
            console.clear()
        console.print(plainly(look))
        sys.stdout.flush()
        looks += 1
        if given.count is not None and looks >= given.count:
            return 0
        if not console.is_terminal:
            console.print()
        # Nothing else is done here, and a signal ends it.
        time.sleep(given.interval)
