"""
The process that posts alerts to a URL; the collector starts it where `anomaly.webhook` says one.

    outbox ──► the next alert ──► POST, the same object ──► acknowledged: the cursor moves
                                    │ no answer, 429, 5xx: again after a pause that doubles, or
                                    │                      after Retry-After
                                    └ anything else: refused, counted, the next one

Each begin and each end is posted once, as far as the cursor tells; who was killed between answer
and cursor posts that one again, under the same ``Idempotency-Key``. It is posted to the host that
was written, whatever that resolves to; a redirect is not followed. What is said of it anywhere
names the host, never path, user or query: they may be secrets.

Why not an HTTP client with more comfort: the standard library's follows nothing of itself.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from shmperf.config.destinations import masked
from shmperf.errors import ShmperfError, StoreError
from shmperf.files import path_of
from shmperf.session.client import Client
from shmperf.session.messages import Report, SidecarReport
from shmperf.session.sidecar import handed_settings
from shmperf.storage.consumer import Consumer

__all__ = ["Webhook", "main", "post"]

_NAME = "webhook"
_TIMEOUT_S, _LONGEST_S = 10.0, 20.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_WISH_S = 1.0, 60.0, 3600.0
_LOOK_S, _REPORT_S, _FINISH_S = 0.5, 2.0, 10.0
_MOST_LINES, _MOST_ANSWER = 1_000, 1 << 16
_LATER = frozenset({408, 425, 429})


class Answer(NamedTuple):
    """What the other side said: a status, 0 for none, with its reason; when to come again."""

    status: int
    text: str
    retry_after_s: float | None = None

    @property
    def is_taken(self) -> bool:
        """It has the alert."""
        return 200 <= self.status < 300

    @property
    def is_worth_a_try(self) -> bool:
        """It may take it another time."""
        return self.status < 100 or self.status in _LATER or self.status >= 500


def post(url: str, body: bytes, key: str, longest_s: float = _LONGEST_S) -> Answer:
    """Post *body* to *url*, in *longest_s* at most; never raises for what the other side does."""
    try:
        parts = urlsplit(url)
        connection = _connection(parts)
    except ValueError:
        return Answer(0, "the URL can't be read")
    guard = threading.Timer(longest_s, _break_off, (connection,))
    guard.daemon = True
    guard.start()
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body, _headers(parts, key))
        answer = connection.getresponse()
        answer.read(_MOST_ANSWER)
        return Answer(answer.status, f"HTTP {answer.status}", _wish(answer))
    except (OSError, http.client.HTTPException, ValueError) as error:
        # Of a text from elsewhere only its kind is told: it may repeat the path.
        return Answer(0, type(error).__name__)
    finally:
        guard.cancel()
        connection.close()


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an http or https URL")
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)
    return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)


def _headers(parts: SplitResult, key: str) -> dict[str, str]:
    found = {"Content-Type": "application/json", "Idempotency-Key": key, "User-Agent": "shmperf"}
    if parts.username is not None:
        from base64 import b64encode  # noqa: PLC0415  for the few URLs with a user in it
        from urllib.parse import unquote  # noqa: PLC0415  the same

        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        found["Authorization"] = f"Basic {b64encode(user).decode()}"
    return found


def _break_off(connection: http.client.HTTPConnection) -> None:
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _wish(answer: http.client.HTTPResponse) -> float | None:
    """Retry-After in seconds, bounded, whether it was said as such or as a date (RFC 9110)."""
    text = answer.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), _LONGEST_WISH_S)
    with suppress(ValueError, OverflowError):
        at_s = parsedate_to_datetime(text).timestamp()
        return min(max(0.0, at_s - time.time()), _LONGEST_WISH_S)
    return None


class Webhook:
    """Posts the alerts of one storage, one after the other."""

    def __init__(
        self,
        storage: Path,
        url: str,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*url* may name a variable of *environ*."""
        self.report = SidecarReport()
        self._consumer = Consumer(storage, _NAME)
        self._is_registered = False
        self._url = environ.get(url[4:], "") if url.startswith("env:") else url
        if not self._url:
            self.report.problem = f"{url} is not set"
        self._clock = clock
        self._pause_s = _FIRST_PAUSE_S
        self._retry_at_s = 0.0

    def step(self) -> bool:
        """Post the next alert, if there is one and it is time; True when another may follow."""
        if not self._url or self._clock() < self._retry_at_s:
            return False
        try:
            if not self._is_registered:
                self._consumer.register()
                self._is_registered = True
            return self._send_next()
        except StoreError as error:
            self.report.problem = str(error)
            self._wait(None)
            return False

    def _send_next(self) -> bool:
        lines = self._consumer.read(_MOST_LINES)
        if lines is None:
            return False
        place = next((at for at, line in enumerate(lines.lines) if _alert_in(line)), None)
        if place is None:
            self._consumer.acknowledge(lines)
            return True
        if place:
            before = self._consumer.read(place)
            if before is not None:
                self._consumer.acknowledge(before)
        one = self._consumer.read(1)
        alert = None if one is None or not one.lines else _alert_in(one.lines[0])
        if one is None or alert is None:
            return True
        key = f"{alert.get('id')}-{'begin' if alert.get('ended') is None else 'end'}"
        answer = post(self._url, msgspec.json.encode(alert), key)
        if not answer.is_taken and answer.is_worth_a_try:
            self.report.problem = f"{masked(self._url)}: {answer.text}"
            self._wait(answer.retry_after_s)
            return False
        self._consumer.acknowledge(one)
        self._note(answer)
        return True

    def _note(self, answer: Answer) -> None:
        self._pause_s, self.report.problem = _FIRST_PAUSE_S, None
        if answer.is_taken:
            self.report.sent += 1
            self.report.last_sent_s = time.time()
        else:
            self.report.dropped += 1
            self.report.last_error = f"{masked(self._url)}: refused: {answer.text}"

    def _wait(self, wished_s: float | None) -> None:
        self._retry_at_s = self._clock() + max(self._pause_s, wished_s or 0.0)
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)


def _alert_in(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b'{"kind":"alert"'):
        return None
    try:
        found = msgspec.json.decode(line)["alert"]
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def main(directory: str) -> int:
    """Serve the session in *directory* until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(ended,), daemon=True).start()
    settings = handed_settings()
    hook = Webhook(path_of(settings.storage), settings.options.anomaly.webhook, os.environ)
    client, told_at_s = Client(Path(directory)), 0.0
    while not ended.is_set():
        if not hook.step():
            ended.wait(_LOOK_S)
        if time.monotonic() >= told_at_s:
            told_at_s = time.monotonic() + _REPORT_S
            with suppress(ShmperfError, OSError):
                client.ask(Report(_NAME, hook.report), _REPORT_S)
    while hook.step():
        pass
    return 0


def _watch(ended: threading.Event) -> None:
    """Wait for the end of standard input; whoever hangs is ended some time after."""
    with suppress(OSError):
        while os.read(0, 1 << 12):
            pass
    ended.set()
    time.sleep(_FINISH_S)
    os._exit(1)
