"""
POST to a backend of somebody else's: bounded in time, never an exception, nothing secret told.

    request ──► answer: its status, when to come again (Retry-After), the begin of its body
        └ nobody there, a hang, garbage, a wrong certificate: status 0 and the kind of it

It is posted to the host that was written, whatever that resolves to; a redirect is not followed.
What is said of it anywhere names neither path nor user nor query: they may be secrets. A connection
may be kept; one that the other side has closed meanwhile is made anew, once.

Why not an HTTP client with more comfort: the standard library's follows nothing of itself.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from shmperf.files import reason_of

__all__ = ["Answer", "Pause", "Poster"]

_TIMEOUT_S, _LONGEST_S = 10.0, 20.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_WISH_S = 1.0, 60.0, 3600.0
_MOST_ANSWER = 1 << 16


class Answer(NamedTuple):
    """
    What the other side said: a status, 0 for none, with its reason; when to come again.

    ``is_late`` where it said nothing in time.
    """

    status: int
    text: str
    retry_after_s: float | None = None
    body: bytes = b""
    is_late: bool = False

    @property
    def is_taken(self) -> bool:
        """It has what was sent."""
        return 200 <= self.status < 300


class Poster:
    """Posts to one URL, one request after the other; one thread."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = _TIMEOUT_S,
        longest_s: float = _LONGEST_S,
        tls: ssl.SSLContext | None = None,
        keeps: bool = False,
    ) -> None:
        """
        A try waits *timeout_s* for each thing, and *longest_s* for all.

        *tls* is the standard library's default without one; with *keeps* the connection stays for
        the next request.
        """
        self._url = url
        self._timeout_s = timeout_s
        self._longest_s = longest_s
        self._tls = tls
        self._keeps = keeps
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post *body*; never raises for what the other side does."""
        try:
            parts = urlsplit(self._url)
            connection = self._connection or self._connect(parts)
        except ValueError:
            return Answer(0, "the URL can't be read")
        is_kept, self._connection = self._connection is not None, None
        guard = threading.Timer(self._longest_s, _break_off, (connection,))
        guard.daemon = True
        guard.start()
        try:
            answer = self._exchange(connection, parts, body, headers)
        except (ConnectionError, http.client.BadStatusLine) as error:
            if is_kept:
                connection.close()
                return self.post(body, headers)
            return Answer(0, _kind(error))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(0, _kind(error), is_late=isinstance(error, TimeoutError))
        finally:
            guard.cancel()
            if self._connection is None:
                connection.close()
        return answer

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        parts: SplitResult,
        body: bytes,
        headers: Mapping[str, str],
    ) -> Answer:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body, _headers(parts) | dict(headers))
        answer = connection.getresponse()
        said = answer.read(_MOST_ANSWER)
        # Of one that says more the rest would be taken for the next answer.
        if self._keeps and answer.isclosed() and not answer.will_close:
            self._connection = connection
        return Answer(answer.status, f"HTTP {answer.status}", _wish(answer), said)

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an http or https URL")
        host, port, timeout_s = parts.hostname, parts.port, self._timeout_s
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._tls)


class Pause:
    """When to try again: after a pause that doubles, or when the other side wishes, if later."""

    def __init__(
        self, clock: Callable[[], float], spread: Callable[[], float] = lambda: 1.0
    ) -> None:
        """*spread* is from 0 to 1: so much of a pause's second half is waited, too."""
        self._clock = clock
        self._spread = spread
        self._pause_s = _FIRST_PAUSE_S
        self._until_s = 0.0

    @property
    def is_over(self) -> bool:
        """It is time."""
        return self._clock() >= self._until_s

    def begin(self, wished_s: float | None = None) -> None:
        """It failed: wait."""
        pause_s = self._pause_s * (1 + self._spread()) / 2
        self._until_s = self._clock() + max(pause_s, wished_s or 0.0)
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)

    def end(self) -> None:
        """It went well, or another try is due at once."""
        self._pause_s, self._until_s = _FIRST_PAUSE_S, 0.0


def _headers(parts: SplitResult) -> dict[str, str]:
    found = {"User-Agent": "shmperf"}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        found["Authorization"] = f"Basic {b64encode(user).decode()}"
    return found


def _kind(error: Exception) -> str:
    # Of a text from elsewhere only its kind is told: it may repeat the path.
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None:
        return reason_of(error)
    return type(error).__name__


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
