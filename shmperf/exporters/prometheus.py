"""
Prometheus: an endpoint of our own, and a collector for programs that have one already.

    GET /metrics     one reading of the session, made when it is asked for

Each scrape is a question or three to the collector, whatever the number of workers. One that can't
be answered is a 503 with a line that says why; the next one is asked anew. Without a token it is
asked by a name of this machine: a web page whose own name leads here gets nothing.
"""

from __future__ import annotations

import gzip
import hmac
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, NamedTuple

from shmperf.errors import ShmperfError
from shmperf.query.answers import Answers, find_answers, request_for

from .exposition import Exposition, client_metrics
from .families import Family, families
from .reading import read
from .traced import Traces

__all__ = ["Endpoint", "collector", "is_loopback", "is_worth_packing", "shown"]

_SMALL_BYTES = 1_024
_IDLE_S = 30.0
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


def shown(answers: Answers, traces: Traces | None = None) -> Iterator[Family]:
    """The families of a session, or of a storage at rest, as its options say; ShmperfError."""
    return families(read(answers, traces), answers.options.export.most_tools)


def is_loopback(host: str) -> bool:
    """True for an address that no other machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_worth_packing(size: int, accepted: str, peer: str) -> bool:
    """
    True for an answer of *size* bytes that *peer* gets as gzip, where ``Accept-Encoding`` has it.

    On one machine bytes cost less than packing and unpacking them.
    """
    return size > _SMALL_BYTES and "gzip" in accepted and not is_loopback(peer)


def collector(
    *,
    session: str | None = None,
    storage: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Any:
    """
    A collector for the registry of prometheus_client: ``REGISTRY.register(collector())``.

    It shows all workers of the session that this program would join, or of the one that is named,
    each time the registry is collected; nothing, and a line on standard error, where none answers.
    Histograms have classic buckets: prometheus_client knows no others.
    """
    request = request_for(session=session, storage=storage, config=None, environ=environ)
    return _Collector(lambda: find_answers(request))


class _Collector:
    """What prometheus_client asks of a collector."""

    def __init__(self, find: Callable[[], Answers]) -> None:
        self._find = find
        self._traces = Traces()

    def describe(self) -> list[Any]:
        """Nothing: registering it asks nobody."""
        return []

    def collect(self) -> Iterator[Any]:
        """The families of one reading."""
        try:
            found = shown(self._find(), self._traces)
        except ShmperfError as error:
            print(f"shmperf: {error}", file=sys.stderr)
            return
        yield from client_metrics(found)


class Endpoint(ThreadingHTTPServer):
    """Serves ``/metrics`` at *address* until it is shut down; OSError where it can't listen."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        look: Callable[[], Iterable[Family]],
        token: str = "",
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        """
        Each scrape is one *look*; with a *token* only who shows it is answered.

        *told*, in any thread, of each scrape: why it could not be answered, nothing where it was.
        """
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, partial(_Handler, _Scrapes(look, Exposition(), told), token))

    def server_bind(self) -> None:
        """The base's asks for the host's full name, which may wait for the network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the base's
        """A scraper that has gone is no news; anything else is a line."""
        error = sys.exception()
        if not isinstance(error, OSError):
            print(f"shmperf: a scrape failed: {error!r}", file=sys.stderr)


class _Scrapes(NamedTuple):
    """What is looked at, how it is shown, and who is told of it."""

    look: Callable[[], Iterable[Family]]
    exposition: Exposition
    told: Callable[[str], None]


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server_version = "shmperf"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    # Head and body leave together: the second of two packets would wait for the other side's
    # acknowledgement of the first, which is 40 ms late by rule.
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, scrapes: _Scrapes, token: str, *rest: Any) -> None:
        self._scrapes = scrapes
        self._token = token
        super().__init__(*rest)

    def do_GET(self) -> None:
        """Answer."""
        if self.path.partition("?")[0] != "/metrics":
            self._answer(404, b"metrics are at /metrics\n")
        elif not self._is_allowed():
            self._answer(401, b"a token is needed\n", {"WWW-Authenticate": "Bearer"})
        elif not self._is_asked_here():
            self._answer(403, b"Host: expected this machine's own name, or a token\n")
        else:
            self._scrape()

    def _is_allowed(self) -> bool:
        shown = self.headers.get("Authorization", "").encode()
        return not self._token or hmac.compare_digest(shown, f"Bearer {self._token}".encode())

    def _is_asked_here(self) -> bool:
        # A page of another site may have its name point to this machine, and a browser asks then.
        host = self.headers.get("Host", "")
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return bool(self._token) or not host or is_loopback(name.lower())

    def _scrape(self) -> None:
        scrapes, accept = self._scrapes, self.headers.get("Accept", "")
        try:
            content, kind = scrapes.exposition(scrapes.look(), accept)
        except (ShmperfError, OSError) as error:
            scrapes.told(str(error))
            self._answer(503, f"{error}\n".encode("utf-8", "backslashreplace"))
            return
        scrapes.told("")
        headers = {"Content-Type": kind, "Vary": "Accept, Accept-Encoding"}
        accepted = self.headers.get("Accept-Encoding", "")
        if is_worth_packing(len(content), accepted, self.client_address[0]):
            content = gzip.compress(content, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        self._answer(200, content, headers)

    def _answer(self, code: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (_TEXT | dict(headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: a scrape each few seconds is no news."""
