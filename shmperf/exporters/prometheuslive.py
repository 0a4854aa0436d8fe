"""
The process that Prometheus scrapes while a session runs; the collector starts it.

    GET /metrics ──► the session's socket ──► one reading ──► the answer
                        └ nobody answers in time: 503, and a line in `status`

    can't listen, as the port is taken ──► a line in `status`, and again after a pause

It listens on this machine alone: the configuration has no place for a token. With one, `metrics`
serves others, and goes on when the session is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from shmperf.config.options import Export, address_of
from shmperf.errors import StoreError
from shmperf.files import path_of, reason_of
from shmperf.session.messages import SidecarReport
from shmperf.session.sidecar import client_of, handed_settings, until_input_ends

from .families import Reading, families
from .posting import Pause
from .prometheus import Endpoint, is_loopback
from .reading import ask
from .sidecar import live, say_why_not
from .traced import Traces

__all__ = ["Live", "main"]

_NAME = "prometheus"
_FINISH_S = 10.0
# A scraper gives up after ten seconds where nobody has told it otherwise.
_ASK_S = 3.0


class Live:
    """An endpoint where the options say; how it is stands in ``report``."""

    def __init__(
        self,
        export: Export,
        read: Callable[[], Reading],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """StoreError for an address that is reached from other machines, or that nobody knows."""
        self._address = address_of(export.prometheus.listen)
        self._listen = export.prometheus.listen
        if not is_loopback(self._address[0]):
            text = "is reached from other machines: only `shmperf metrics --token-file` serves them"
            raise StoreError(f"{self._listen} {text}")
        if not self._address[1]:
            raise StoreError(f"{self._listen}: name a port, or no scraper knows which it is")
        self._shown = lambda: families(read(), export.most_tools)
        self._report = SidecarReport()
        self._counts = threading.Lock()
        self._pause = Pause(clock)
        self._endpoint: Endpoint | None = None

    def step(self) -> bool:
        """Listen, if that is still to be done and it is time; False, as nothing follows at once."""
        if self._endpoint is not None or not self._pause.is_over:
            return False
        try:
            self._endpoint = Endpoint(self._address, self._shown, told=self._note)
        except OSError as error:
            with self._counts:
                self._report.problem = f"{self._listen}: {reason_of(error)}"
            self._pause.begin()
            return False
        self._pause.end()
        with self._counts:
            self._report.problem = None
        threading.Thread(target=self._endpoint.serve_forever, daemon=True).start()
        return False

    @property
    def report(self) -> SidecarReport:
        """How it is: scrapes that were answered, and why the last that was not could not be."""
        with self._counts:
            return SidecarReport(
                sent=self._report.sent,
                last_sent_s=self._report.last_sent_s,
                problem=self._report.problem,
                last_error=self._report.last_error,
            )

    def close(self) -> None:
        """Let the port go."""
        if self._endpoint is not None:
            self._endpoint.shutdown()
            self._endpoint.server_close()
        self._endpoint = None

    def _note(self, problem: str) -> None:
        """A scrape was answered, or why not; any thread."""
        with self._counts:
            if problem:
                self._report.last_error = problem
            else:
                self._report.sent += 1
                self._report.last_sent_s = time.time()


def main(directory: str) -> int:
    """Serve the session in *directory* until standard input ends."""
    ended = until_input_ends(_FINISH_S)
    settings, client = handed_settings(), client_of(Path(directory), ended.is_set)
    follow = partial(Traces().follow, path_of(settings.storage))
    try:
        found = Live(settings.options.export, lambda: ask(client, _ASK_S, follow))
    except StoreError as error:
        say_why_not(client, _NAME, ended, str(error))
        return 0
    live(client, _NAME, ended, found.step, lambda: found.report)
    found.close()
    return 0
