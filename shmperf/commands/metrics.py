"""``shmperf metrics``: an endpoint for Prometheus, in the foreground."""

from __future__ import annotations

import json
import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path
from threading import Thread

from shmperf.errors import StoreError
from shmperf.exporters.prometheus import Endpoint, is_loopback, shown
from shmperf.exporters.traced import Traces
from shmperf.files import translated
from shmperf.query.answers import TellOnce, find_answers

from .arguments import add_reader, address, answers_for, request_of

__all__ = ["add_arguments", "run"]

_LEAST_TOKEN = 16
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument(
        "--listen",
        type=address,
        default="127.0.0.1:9464",
        metavar="HOST:PORT",
        help="(default: 127.0.0.1:9464); beyond this machine only with a token",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help="holds what a scraper shows as Authorization: Bearer"
    )


def run(given: Namespace) -> int:
    """Serve until a signal comes; the exit code."""
    host, port = given.listen
    token = _token(given.token_file)
    if not token and not is_loopback(host):
        raise StoreError(f"{host} is reached from other machines: name a --token-file")
    # What can't be found now is told now.
    shown(answers_for(given))
    request, traces, tell = request_of(given), Traces(), TellOnce()
    try:
        endpoint = Endpoint((host, port), lambda: shown(find_answers(request, tell), traces), token)
    except OSError as error:
        raise translated(error, f"{host}:{port}", StoreError) from None
    # Before threads are there: none of them is to be interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with endpoint:
        _tell(given, host, endpoint.server_port)
        thread = Thread(target=endpoint.serve_forever)
        thread.start()
        signal.sigwait(_SIGNALS)
        endpoint.shutdown()
        thread.join()
    return 0


def _token(path: str | None) -> str:
    if path is None:
        return ""
    try:
        token = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise translated(error, path, StoreError) from None
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable():
        raise StoreError(f"{path}: a token has {_LEAST_TOKEN} printable characters or more")
    return token


def _tell(given: Namespace, host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}/metrics"
    print(json.dumps({"url": url}) if given.json else f"metrics are at {url}", flush=True)
