"""``shmperf serve``: the live page, in the foreground."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from shmperf.analysis.diff import Earlier
from shmperf.errors import SessionError, ShmperfError, StoreError
from shmperf.exporters.prometheus import is_loopback
from shmperf.query.answers import Answers, TellOnce, check_storage, find_answers
from shmperf.session.rendezvous import Request
from shmperf.views.web.guarding import Guard, Key, names_of
from shmperf.views.web.token import new_token, token_of

from .arguments import add_against, add_reader, address, request_of
from .cleanup import clean_up
from .fleetreach import add_access, reach, source_of
from .nearest import refuse_missing
from .sources import read_earlier

__all__ = ["add_arguments", "run"]

_HERE = ("127.0.0.1", 8470)
_EXTRA = ("starlette", "uvicorn")


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    add_against(parser)
    parser.add_argument("--url", metavar="URL", help="of all nodes of the fleet there")
    add_access(parser)
    parser.add_argument(
        "--listen",
        type=address,
        metavar="HOST:PORT",
        help="(default: 127.0.0.1:8470, or the next free port); asks for the token everywhere",
    )


def run(given: Namespace) -> int:
    """Serve until a signal comes; the exit code."""
    if not all(map(find_spec, _EXTRA)):
        raise ShmperfError("serve needs Starlette and uvicorn: pip install 'shmperf[serve]'")
    request = request_of(given)
    if given.url:
        reached = reach(given, "shmperf serve")
        try:
            # Nobody's storage: the token is of this time alone.
            shown = _Shown(source_of(reached).find, _refuse_cleanup, new_token())
            return _listen(given, shown)
        finally:
            reached.engine.close()
    # What is wrong with a storage is wrong at each look.
    find = partial(_found, request, read_earlier(given.against), TellOnce())
    # What can't be found now is told now.
    storage = find().storage
    clean = partial(_clean_up, request)
    return _listen(given, _Shown(find, clean, _token(storage)))


class _Shown(NamedTuple):
    """Who answers, who forgets, and the key to both."""

    find: Callable[[], Answers]
    clean_up: Callable[[Answers, bool], bool]
    token: str


def _clean_up(request: Request, answers: Answers, force: bool) -> bool:
    return clean_up(request, answers, force=force)


def _refuse_cleanup(answers: Answers, force: bool) -> bool:  # noqa: ARG001  as of a session
    raise SessionError("a fleet only shows: clean up on the node itself")


def _listen(given: Namespace, shown: _Shown) -> int:
    from shmperf.views.web import serving  # noqa: PLC0415  an extra

    host, port = given.listen or _HERE
    with serving.listen(host, port, or_next=given.listen is None) as listener:
        if not is_loopback(host):
            _tell(f"{host} is reached from other machines, and not encrypted: mind the token")
        asyncio.run(_serve(given, shown, listener))
    return 0


def _found(request: Request, earlier: Earlier | None, tell: TellOnce) -> Answers:
    answers = find_answers(request, tell)
    answers.earlier = earlier
    refuse_missing(answers)
    check_storage(answers)
    return answers


def _token(storage: Path) -> str:
    try:
        return token_of(storage)
    except StoreError as error:
        _tell(f"{error}; the page's token is of this time alone")
        return new_token()


async def _serve(given: Namespace, shown: _Shown, listener: socket.socket) -> None:
    from shmperf.views.web import application, serving  # noqa: PLC0415  an extra

    host, port = given.listen[0] if given.listen else _HERE[0], listener.getsockname()[1]
    site = application.Site(application.Sources(shown.find, shown.clean_up))
    guard = Guard(site.app, names_of(host), Key.of(shown.token, port))
    url = f"http://{_shown(host)}:{port}/?token={shown.token}"
    told = json.dumps({"url": url}) if given.json else f"the page is at {url}"
    await serving.serve(guard, listener, site.end, lambda: print(told, flush=True))


def _shown(host: str) -> str:
    """*host* as an address has it; for all addresses of this machine the one that leads here."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104  said, not bound
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"  # noqa: S104  the same
    return f"[{host}]" if ":" in host else host


def _tell(text: str) -> None:
    print(f"shmperf: {text}", file=sys.stderr, flush=True)
