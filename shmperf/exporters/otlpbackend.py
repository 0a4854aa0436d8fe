"""
An OTLP backend as one signal meets it: a request is taken, refused, or to be sent once more.

    2xx                                taken; what a partial success rejects is dropped, and counted
    429, 502, 503, 504, or no answer   later: after a pause that doubles, or after Retry-After;
                                       fewer at once where the answer did not come in time
    413                                too much at once, for who can send less
    anything else                      refused: the same again would be refused again

These are the rules of "OTLP/HTTP Response" and "Failures" of the OpenTelemetry Protocol. What the
other side says is cut, and shown; it is never believed further.
"""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable
from enum import Enum

from shmperf.session.messages import SidecarReport

from .otlptarget import Target
from .posting import Answer, Pause, Poster
from .wire import fields

__all__ = ["Backend", "Verdict"]

_LATER = frozenset({429, 502, 503, 504})
_TOO_MUCH = 413
_MOST_TOLD = 200
# A request of some hundred kilobytes: a receiver takes some megabytes, and answers soon.
_MOST_AT_ONCE, _FEWEST = 2_000, 50


class Verdict(Enum):
    """What became of a request."""

    TAKEN = "taken"
    LATER = "later"
    TOO_MUCH = "too much"
    REFUSED = "refused"


class Portion:
    """
    How many things a request holds: fewer where there was no answer in time, or where it says so.

    Some write what they get before they answer, a few hundred spans a second: two thousand at once
    would be late each time, and each time anew.
    """

    def __init__(self) -> None:
        self.most = self._bound = _MOST_AT_ONCE

    def grow(self) -> None:
        """It was quick."""
        self.most = min(self._bound, 2 * self.most)

    def shrink(self, parts: int) -> None:
        """There was no answer to so many in time; who is not there at all makes none of few."""
        self.most = min(self._bound, max(_FEWEST, min(self.most, parts) // 2))

    def bound(self, parts: int) -> None:
        """So many are never taken."""
        self.most = self._bound = max(1, min(self.most, parts) // 2)


class Backend:
    """Sends the requests of one signal, and says in *report* how that goes; one thread."""

    def __init__(
        self,
        target: Target,
        what: str,
        report: SidecarReport,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """
        *what* is sent there, in a word.

        *spread* is a number from 0 to 1 for each pause: many senders don't come all at once.
        """
        self.pause = Pause(clock, spread)
        self.portion = Portion()
        self._clock = clock
        self._quick_s = target.timeout_s / 4
        self._is_gzip = target.is_gzip
        self._shown = f"{what} to {target.shown}"
        self._report = report
        self._poster = Poster(
            target.url,
            timeout_s=target.timeout_s,
            longest_s=2 * target.timeout_s,
            tls=target.tls,
            keeps=True,
        )
        self._headers = {**target.headers, "Content-Type": "application/x-protobuf"}
        if target.is_gzip:
            self._headers["Content-Encoding"] = "gzip"

    def send(self, body: bytes, parts: int) -> tuple[Verdict, int]:
        """
        What became of a request that holds *parts* things, and how many were not taken.

        Where it may be taken later, `pause` says when.
        """
        if self._is_gzip:
            body = gzip.compress(body, compresslevel=1)
        begun_s = self._clock()
        answer = self._poster.post(body, self._headers)
        if answer.is_taken:
            if self._clock() - begun_s < self._quick_s:
                self.portion.grow()
            self.pause.end()
            self._report.problem = None
            return Verdict.TAKEN, self._rejected(answer, parts)
        if answer.is_late:
            self.portion.shrink(parts)
        if answer.status < 100 or answer.status in _LATER:
            self._report.problem = f"{self._shown}: {answer.text}"
            self.pause.begin(answer.retry_after_s)
            return Verdict.LATER, parts
        self.pause.end()
        self._report.problem = None
        if answer.status == _TOO_MUCH and parts > 1:
            self.portion.bound(parts)
            return Verdict.TOO_MUCH, parts
        said = _told(_text_in(answer.body))
        self._report.last_error = f"{self._shown}: refused: {answer.text}{said}"
        return Verdict.REFUSED, parts

    def close(self) -> None:
        """Let the connection go."""
        self._poster.close()

    def _rejected(self, answer: Answer, parts: int) -> int:
        """How many of the *parts* a partial success leaves out; a warning is an error of none."""
        rejected, text = _partial_success(answer.body)
        if rejected or text:
            self._report.last_error = f"{self._shown}: rejected {rejected}{_told(text)}"
        return min(rejected, parts)


def _told(text: str) -> str:
    return f": {text}" if text else ""


def _partial_success(body: bytes) -> tuple[int, str]:
    """The same fields for both signals: rejected_… = 1, error_message = 2, within field 1."""
    try:
        parts = [value for field, value in fields(body) if field == 1]
        found = dict(fields(parts[-1])) if parts and isinstance(parts[-1], bytes) else {}
    except ValueError:
        return 0, ""
    rejected = found.get(1, 0)
    return rejected if isinstance(rejected, int) else 0, _shown(found.get(2))


def _text_in(body: bytes) -> str:
    """The message of a google.rpc.Status; nothing of what is none."""
    try:
        return _shown(dict(fields(body)).get(2))
    except ValueError:
        return ""


def _shown(said: int | bytes | None) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else ""
    return "".join(one if one.isprintable() else " " for one in text[:_MOST_TOLD]).strip()
