"""An OTLP receiver of a test's own: OpenTelemetry's library decodes, and it answers as told."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

MESSAGES = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}


class Reply(NamedTuple):
    """What a request is answered with; a status below zero is garbage, or nothing."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Receiver(ThreadingHTTPServer):
    """Takes what comes, unless *replies* say otherwise, one after the other."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.replies: list[Reply] = []
        # What has more spans than these is not answered, until the other side gives up.
        self.most_in_time = 1 << 30
        # Path, headers and message of each request, and of those alone that were taken.
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.taken: list[tuple[str, Any]] = []
        self.connections = 0
        self.is_alone = False
        self._opened: list[socket.socket] = []
        super().__init__(("127.0.0.1", port), _Answering)

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[Any]:
        """Every span that was taken."""
        return [span for message in self.of("/v1/traces") for span in spans_in(message)]

    def ids(self) -> Counter[str]:
        """How often each span was."""
        return Counter(span.span_id.hex() for span in self.spans())

    def of(self, path: str) -> list[Any]:
        """The messages taken there."""
        return [message for where, message in self.taken if where == path]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        self._opened.append(request)
        if self.is_alone:
            HTTPServer.process_request(self, request, client_address)
        else:
            super().process_request(request, client_address)

    def hang_up(self) -> None:
        """End every connection, as a receiver does that was killed."""
        for connection in self._opened:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._opened.clear()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up on us is what some tests are about."""


class _Answering(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        message = MESSAGES.get(self.path, ExportTraceServiceRequest).FromString(body)
        self.server.asked.append((self.path, headers, message))
        if self.path == "/v1/traces" and len(spans_in(message)) > self.server.most_in_time:
            self.close_connection = not self.rfile.read(1)
            return
        reply = self.server.replies.pop(0) if self.server.replies else Reply()
        if 200 <= reply.status < 300:
            self.server.taken.append((self.path, message))
        if reply.status < 0:
            self.wfile.write(b"\0garbage\r\n\r\n" if reply.status == -1 else b"")
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def receiving(
    port: int = 0, tls: ssl.SSLContext | None = None, *, is_alone: bool = False
) -> Iterator[Receiver]:
    """A receiver that runs; one that *is_alone* hears one connection after the other."""
    found = Receiver(port)
    found.is_alone = is_alone
    if tls is not None:
        found.socket = tls.wrap_socket(found.socket, server_side=True)
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        found.hang_up()
        found.shutdown()
        found.hang_up()
        thread.join()
        found.server_close()


def spans_in(message: Any) -> list[Any]:
    """The spans of a request."""
    return [
        span
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attributes(one: Any) -> dict[str, Any]:
    """Those of a span, a resource or a point of data."""
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in one.attributes}
