"""
The process that posts alerts to a URL; the collector starts it where `anomaly.webhook` says one.

    outbox ──► the next alert ──► POST, the same object ──► acknowledged: the cursor moves
                                    │ no answer, 429, 5xx: again after a pause that doubles, or
                                    │                      after Retry-After
                                    └ anything else: refused, counted, the next one

Each begin and each end is posted once, as far as the cursor tells; who was killed between answer
and cursor posts that one again, under the same ``Idempotency-Key``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from shmperf.config.destinations import masked
from shmperf.config.options import expected_of
from shmperf.errors import StoreError
from shmperf.files import path_of
from shmperf.session.messages import SidecarReport
from shmperf.session.sidecar import client_of, handed_settings, until_input_ends
from shmperf.storage.consumer import Consumer

from .posting import Answer, Pause, Poster
from .sidecar import live

__all__ = ["Webhook", "is_worth_a_try", "main", "post"]

_NAME = "webhook"
_LONGEST_S = 20.0
_FINISH_S = 10.0
_MOST_LINES = 1_000
_LATER = frozenset({408, 425, 429})


def post(url: str, body: bytes, key: str, longest_s: float = _LONGEST_S) -> Answer:
    """Post *body* to *url*, in *longest_s* at most; never raises for what the other side does."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    return Poster(url, longest_s=longest_s).post(body, headers)


def is_worth_a_try(answer: Answer) -> bool:
    """It may take it another time."""
    return answer.status < 100 or answer.status in _LATER or answer.status >= 500


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
        self._url = environ.get(url[4:], "") if url.startswith("env:") else url
        if not self._url:
            self.report.problem = f"{url} is not set"
        elif expected := expected_of(self._url):
            self.report.problem, self._url = f"{masked(url)}: expected {expected}", ""
        self._pause = Pause(clock)

    def step(self) -> bool:
        """Post the next alert, if there is one and it is time; True when another may follow."""
        if not self._url or not self._pause.is_over:
            return False
        try:
            if not self._consumer.is_registered:
                self._consumer.register()
            return self._send_next()
        except StoreError as error:
            self.report.problem = str(error)
            self._pause.begin()
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
        if not answer.is_taken and is_worth_a_try(answer):
            self.report.problem = f"{masked(self._url)}: {answer.text}"
            self._pause.begin(answer.retry_after_s)
            return False
        self._consumer.acknowledge(one)
        self._note(answer)
        return True

    def _note(self, answer: Answer) -> None:
        self._pause.end()
        self.report.problem = None
        if answer.is_taken:
            self.report.sent += 1
            self.report.last_sent_s = time.time()
        else:
            self.report.dropped += 1
            self.report.last_error = f"{masked(self._url)}: refused: {answer.text}"


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
    ended = until_input_ends(_FINISH_S)
    settings = handed_settings()
    hook = Webhook(path_of(settings.storage), settings.options.anomaly.webhook, os.environ)
    live(client_of(Path(directory), ended.is_set), _NAME, ended, hook.step, lambda: hook.report)
    while hook.step():
        pass
    return 0
