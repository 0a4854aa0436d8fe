"""
The process that sends spans and metrics to an OpenTelemetry backend; the collector starts it.

    outbox ──► the next lines ──► calls as spans, one request ──► acknowledged: the cursor moves
                                     │ later (see `otlpbackend`): the same lines, after a pause
                                     └ refused: counted, the next ones

    collector ──► a reading, each `interval_seconds` ──► metrics, cumulative: what was not taken
                                                         is in the next

At least once: who was killed between answer and cursor sends those lines again, as spans of the
same ids. A backend that is away costs disk up to ``storage.outbox_bytes``; what goes beyond that is
counted as dropped. When the session ends, what waits is sent as long as that goes well and is
quick; the rest stays in the outbox for the next session that sends.

    killed after …            the next one
    sent, not acknowledged    sends those lines again: the same spans
    acknowledged              goes on with the next line
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from shmperf.config.options import Export, Otlp
from shmperf.errors import ShmperfError, StoreError
from shmperf.files import path_of
from shmperf.query.answers import Answers
from shmperf.session.client import Client
from shmperf.session.messages import SidecarReport
from shmperf.session.settings import Settings
from shmperf.session.sidecar import client_of, handed_settings, until_input_ends
from shmperf.storage.consumer import Consumer, Lines, consumers
from shmperf.storage.kept import KeptCall, kept_in
from shmperf.storage.origin import origin_of

from .families import Reading, families
from .otlp import request, sendable
from .otlpbackend import Backend, Verdict
from .otlpmetrics import Times, metric_requests
from .otlptarget import resource_of, target_of
from .reading import ask, read
from .sidecar import live, say_why_not
from .traced import Traces

__all__ = ["Metrics", "Sender", "Spans", "main"]

_NAME = "otlp"
_FINISH_S = 10.0
_CALL = b'{"kind":"call"'


class Spans:
    """Sends the calls of one storage, in their order; what it could not is in ``report``."""

    def __init__(
        self,
        storage: Path,
        otlp: Otlp,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """StoreError for what of options and environment can't be followed."""
        self.report = SidecarReport()
        self._origin = origin_of(storage)
        self._backend = Backend(target_of("traces", otlp, environ), "spans", self.report, clock)
        self._resource, self.report.last_error = resource_of(environ, self._origin)
        self._with_arguments = otlp.arguments
        self._is_wanted = otlp.spans
        self._consumer = Consumer(storage, _NAME)
        self._storage = storage
        self._refused = 0

    def step(self, *, is_last: bool = False) -> bool:
        """
        Send the next lines, if there are some and it is time; True when others may follow.

        The last time it is time, whatever was said before.
        """
        if is_last:
            self._backend.pause.end()
        if not self._backend.pause.is_over:
            return False
        try:
            if not self._consumer.is_registered:
                self._consumer.register()
            return self._send_next()
        except StoreError as error:
            self.report.problem = str(error)
            self._backend.pause.begin()
            return False

    def look(self) -> SidecarReport:
        """How it is: what waits, too."""
        with suppress(StoreError):
            progress = consumers(self._storage).get(_NAME)
            if progress is not None:
                self.report.waiting = progress.lag
                self.report.dropped = self._refused + progress.dropped
        return self.report

    def close(self) -> None:
        """Let another process read."""
        self._backend.close()
        self._consumer.close()

    def _send_next(self) -> bool:
        lines = self._consumer.read(self._backend.portion.most)
        if lines is None:
            # Kept while there is something to send: a server of one thread has others to hear.
            self._backend.close()
            return False
        calls = list(sendable(self._calls(lines.lines))) if self._is_wanted else []
        if not calls:
            self._consumer.acknowledge(lines)
            return True
        body = request(calls, self._origin, *self._resource)
        verdict, refused = self._backend.send(body, len(calls))
        if verdict is Verdict.TOO_MUCH:
            return True
        if verdict is Verdict.LATER:
            return False
        self._note(lines, len(calls) - refused, refused)
        return True

    def _note(self, lines: Lines, taken: int, refused: int) -> None:
        self._consumer.acknowledge(lines)
        self._refused += refused
        if taken:
            self.report.sent += taken
            self.report.last_sent_s = time.time()

    def _calls(self, lines: Iterable[bytes]) -> Iterable[KeptCall]:
        for line in lines:
            if not line.startswith(_CALL):
                continue
            call = kept_in(line, with_params=self._with_arguments)
            if call is not None:
                yield call


class Metrics:
    """Sends what a session counts, again and again; how that goes is in ``report``."""

    def __init__(
        self,
        storage: Path,
        export: Export,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """StoreError for what of options and environment can't be followed."""
        self.report = SidecarReport()
        self._backend = Backend(
            target_of("metrics", export.otlp, environ), "metrics", self.report, clock
        )
        self._resource, _ = resource_of(environ, origin_of(storage))
        self._most_tools = export.most_tools
        self._interval_s = export.otlp.interval_seconds
        self._is_wanted = export.otlp.metrics
        self._clock = clock
        self._due_s = 0.0

    def step(self, read: Callable[[], Reading], *, is_last: bool = False) -> None:
        """Send what *read* shows now, if it is time; the last time it is."""
        is_due = self._clock() >= self._due_s and self._backend.pause.is_over
        if not self._is_wanted or not (is_due or is_last):
            return
        # Never twice in an interval; one that took long is followed by the next.
        self._due_s = self._clock() + self._interval_s
        try:
            reading = read()
        except ShmperfError as error:
            self.report.problem = str(error)
            return
        times = Times(reading.figures.since_ns, time.time_ns())
        shown = families(reading, self._most_tools)
        for body, points in metric_requests(shown, times, self._resource):
            verdict, _ = self._backend.send(body, points)
            if verdict is Verdict.LATER:
                # When the backend says so, and then as it is then.
                self._due_s = 0.0
                break
            if verdict is Verdict.TAKEN:
                self.report.last_sent_s = time.time()
        self._backend.close()


class Sender:
    """Both, as one sidecar."""

    def __init__(self, client: Client, settings: Settings, environ: Mapping[str, str]) -> None:
        """StoreError for what of options and environment can't be followed."""
        self._storage, self._options = path_of(settings.storage), settings.options
        export = settings.options.export
        self._client = client
        self._spans = Spans(self._storage, export.otlp, environ)
        self._metrics = Metrics(self._storage, export, environ)
        self._traces = Traces()

    def step(self) -> bool:
        """Send what is due; True when more may be."""
        follow = partial(self._traces.follow, self._storage)
        self._metrics.step(lambda: ask(self._client, traces=follow))
        return self._spans.step()

    def finish(self) -> None:
        """The collector has gone: what is on disk is all there is."""
        more = self._spans.step(is_last=True)
        self._metrics.step(self._at_rest, is_last=True)
        while more:
            more = self._spans.step()

    def report(self) -> SidecarReport:
        """How both are."""
        found, metrics = self._spans.look(), self._metrics.report
        times = [one for one in (found.last_sent_s, metrics.last_sent_s) if one is not None]
        return msgspec.structs.replace(
            found,
            problem=found.problem or metrics.problem,
            last_error=found.last_error or metrics.last_error,
            last_sent_s=max(times, default=None),
        )

    def _at_rest(self) -> Reading:
        answers = Answers(self._storage, self._options, None)
        # Of processes nothing is known: another collector may have them.
        return read(answers, self._traces)._replace(status=None)


def main(directory: str) -> int:
    """Serve the session in *directory* until standard input ends."""
    ended = until_input_ends(_FINISH_S)
    settings, client = handed_settings(), client_of(Path(directory), ended.is_set)
    try:
        sender = Sender(client, settings, os.environ)
    except StoreError as error:
        say_why_not(client, _NAME, ended, str(error))
        return 0
    live(client, _NAME, ended, sender.step, sender.report)
    sender.finish()
    return 0
