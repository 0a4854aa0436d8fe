"""
Answers to what is asked over the control socket: one function a request, in one table.

Most answers include every call that had ended before: the cycle looks at all rings first. Those in
`AT_ONCE` do not wait for that: they are asked for all the time, or ask for something to be done.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from shmperf.analysis.alerts import Alerts, known_alerts, shown
from shmperf.analysis.anomaly import told_of
from shmperf.analysis.bucketcalls import BucketNews, bucket_news
from shmperf.analysis.exemplars import Exemplar
from shmperf.analysis.failures import ErrorsKnown
from shmperf.analysis.shownalert import ShownAlert
from shmperf.analysis.spans import IntervalsView
from shmperf.analysis.stats import Figures, News, SessionStats
from shmperf.analysis.totals import ToolStats, Totals
from shmperf.analysis.treestate import Edge
from shmperf.config.options import Options
from shmperf.errors import ShmperfError
from shmperf.files import shown_path
from shmperf.session.messages import (
    AlertsOf,
    BucketCallsOf,
    Changes,
    Cleanup,
    CollectorStatus,
    ConsumerStatus,
    Errors,
    ExemplarOf,
    FiguresOf,
    Flush,
    InFlight,
    IntervalsOf,
    Mode,
    OpenCallAnswer,
    Optimize,
    Ping,
    Report,
    RunProgress,
    SessionStatus,
    SinkReport,
    SinkStatus,
    SlowestOf,
    Stats,
    Status,
    Stop,
    TotalsOf,
    Tree,
)
from shmperf.session.server import Pending
from shmperf.session.word import is_in_detail

from .opened import open_calls
from .parts import Parts
from .runrequests import RunRequests
from .supervisor import Supervisor

__all__ = ["ANSWERS", "AT_ONCE", "Deeds", "Requests"]

# In place of an answer that comes when the cycle has ended.
_LATER = object()


class _Held(NamedTuple):
    """A flush that has been begun: up to that number, or until that time."""

    number: int
    until_s: float
    counted: bool


class Deeds(msgspec.Struct, frozen=True, kw_only=True):
    """What the cycle does because somebody asks."""

    commit: Callable[[], None]
    settle: Callable[[], None]
    flush: Callable[[], int]
    cleanup: Callable[[], None]
    stop: Callable[[], None]
    runs: RunRequests


class Requests:
    """Answers one request after the other; the collector's thread."""

    def __init__(self, parts: Parts, deeds: Deeds, clock: Callable[[], float]) -> None:
        self.parts = parts
        self.deeds = deeds
        self._clock = clock
        self._started_s = clock()
        self._waiting: list[Pending] = []
        self._held: list[tuple[Pending, _Held]] = []
        self.configure(parts.ledger.options)

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.may_clean_up = options.optimization.cleanup_on_optimize

    def answer(self, pending: Pending) -> None:
        """Answer, now or when the cycle ends; what can't be done is told to who asked."""
        try:
            value = self.value_for(pending.request)
        except ShmperfError as error:
            pending.fail(str(error))
        except Exception as error:
            # The cycle's guard counts it; who asked is told first.
            pending.fail(f"{type(error).__name__}: {error}")
            raise
        else:
            if value is _LATER:
                self._waiting.append(pending)
            elif isinstance(value, _Held):
                self._held.append((pending, value))
            else:
                pending.reply(value)

    def answer_held(self) -> None:
        """Answer the flushes that are done, or that somebody does not want to wait for longer."""
        held, self._held = self._held, []
        for pending, flush in held:
            try:
                value = self.flushed(flush)
            except ShmperfError as error:
                pending.fail(str(error))
                continue
            if isinstance(value, _Held):
                self._held.append((pending, flush))
            else:
                pending.reply(value)

    def flushed(self, flush: _Held) -> _Held | int | bool:
        """What is to be answered to *flush*: itself, as long as it is neither done nor over."""
        parts = self.parts
        is_done = parts.flusher.has_reached(flush.number)
        if is_done and parts.disk.is_unavailable():
            raise ShmperfError(f"storage is unavailable: {parts.disk.reason}")
        unattached = parts.roster.unattached()
        if unattached.workers:
            text = f"workers that can't be read: {unattached.workers}; {unattached.reason}"
            raise ShmperfError(text)
        if not is_done and self._clock() < flush.until_s:
            return flush
        if flush.counted:
            return 0 if is_done else parts.flusher.left()
        return True

    def begin_flush(self, patience_s: float | None) -> _Held | int | bool:
        """Flush what had ended; the answer, where there is little."""
        until_s = math.inf if patience_s is None else self._clock() + patience_s
        return self.flushed(_Held(self.deeds.flush(), until_s, patience_s is not None))

    def value_for(self, request: object) -> Any:
        """The answer to *request*; raises ShmperfError when there is none."""
        answer = ANSWERS.get(type(request))
        if answer is None:
            raise ShmperfError(f"found a request {type(request).__name__}, expected a known one")
        if type(request) not in AT_ONCE:
            self.deeds.settle()
        return answer(self, request)

    def uptime_s(self) -> float:
        """Since when the collector is there."""
        return self._clock() - self._started_s

    def close(self) -> None:
        """The end of the cycle, which some have asked for and wait for; all is written."""
        self.answer_held()
        for pending in self._waiting:
            pending.reply(True)


def _ping(_: Requests, __: Ping) -> int:
    return os.getpid()


def _stop(requests: Requests, _: Stop) -> object:
    requests.deeds.stop()
    return _LATER


def _mode(requests: Requests, request: Mode) -> str:
    session = requests.parts.session
    if request.optimization is not None:
        session.settings.set_mode(request.optimization)
    return "optimization" if is_in_detail(session.word[0]) else "normal"


def _cleanup(requests: Requests, request: Cleanup) -> bool:
    if not (request.force or requests.may_clean_up):
        return False
    requests.deeds.cleanup()
    return True


def _optimize(requests: Requests, request: Optimize) -> RunProgress:
    return requests.deeds.runs.progress(request)


def _changes(requests: Requests, request: Changes) -> News:
    if request.report is not None:
        requests.parts.supervisor.hear("rag", request.report)
    # What is drained has been counted, but what is known is what is journalled.
    requests.deeds.commit()
    return requests.parts.ledger.news(request.after)


def _report(requests: Requests, request: Report) -> bool:
    return requests.parts.supervisor.hear(request.sidecar, request.report)


def _flush(requests: Requests, request: Flush) -> object:
    return requests.begin_flush(request.patience_s)


def _stats(requests: Requests, request: Stats) -> ToolStats | SessionStats:
    parts = requests.parts
    complete = parts.are_complete()
    found = parts.ledger.stats(
        request.tool, len(parts.roster.workers), complete=complete, opened=_opened(parts)
    )
    if isinstance(found, SessionStats):
        found.unattached = parts.roster.unattached()
    return found


def _figures(requests: Requests, request: FiguresOf) -> Figures:
    parts = requests.parts
    complete = parts.are_complete()
    if request.begins:
        parts.ledger.extremes.begin(request.mark)
    found = parts.ledger.figures(
        request.tool, len(parts.roster.workers), complete=complete, opened=_opened(parts)
    )
    found.extremes = parts.ledger.extremes.since(request.mark)
    return found


def _opened(parts: Parts) -> Counter[str]:
    """The calls that are open now, by tool."""
    return Counter(worker.callee(row.callee).tool for worker, row in parts.roster.open_calls())


def _totals_of(requests: Requests, request: TotalsOf) -> dict[str, Totals]:
    totals = requests.parts.ledger.totals.known
    return {tool: totals[tool] for tool in request.tools if tool in totals}


def _errors(requests: Requests, _: Errors) -> ErrorsKnown:
    return requests.parts.ledger.known_errors()


def _slowest(requests: Requests, request: SlowestOf) -> list[Exemplar]:
    return requests.parts.ledger.exemplars.slowest(request.most, request.tool)


def _exemplar(requests: Requests, request: ExemplarOf) -> list[Exemplar]:
    found = requests.parts.ledger.exemplars.holding(int(request.id, 16))
    return [] if found is None else [found]


def _bucket_calls(requests: Requests, request: BucketCallsOf) -> BucketNews:
    return bucket_news(requests.parts.ledger.exemplars, request.after)


def _intervals(requests: Requests, request: IntervalsOf) -> IntervalsView:
    intervals = requests.parts.ledger.intervals
    return intervals.view(request.tool, request.since_s, request.until_s)


def _alerts(requests: Requests, _: AlertsOf) -> list[ShownAlert]:
    return known_alerts(requests.parts.ledger.analyses.of(Alerts))


def _tree(requests: Requests, _: Tree) -> list[Edge]:
    parts = requests.parts
    opened = {row.id: worker.callee(row.callee).tool for worker, row in parts.roster.open_calls()}
    return parts.ledger.tree.graph(opened)


def _in_flight(requests: Requests, _: InFlight) -> list[OpenCallAnswer]:
    return open_calls(requests.parts)


def _sink(supervisor: Supervisor) -> SinkStatus | None:
    """The one sidecar whose report has a shape of its own."""
    found = supervisor.status().get("rag")
    if found is None:
        return None
    said = supervisor.report_of("rag")
    report = msgspec.structs.asdict(said if isinstance(said, SinkReport) else SinkReport())
    shared = msgspec.structs.asdict(found)
    return SinkStatus(**report | shared)


def _told_of_names(nameless: Mapping[str, list[str]]) -> dict[str, str]:
    """What `status` says of tools for whose names there was no memory."""
    if not nameless:
        return {}
    texts = [f"{tool!r} counts {', '.join(map(repr, first))} …" for tool, first in nameless.items()]
    return {"no_name": "; ".join(texts)}


def _status(requests: Requests, _: Status) -> SessionStatus:
    parts = requests.parts
    books = parts.ledger.books(len(parts.roster.workers), complete=parts.are_complete())
    return SessionStatus(
        session=parts.session.name or parts.session.directory.name,
        storage=shown_path(parts.session.storage),
        mode=_mode(requests, Mode()),
        collector=CollectorStatus(
            pid=os.getpid(),
            uptime_s=requests.uptime_s(),
            records=parts.ingest.records,
            lag_s=parts.lag.longest_s,
        ),
        storage_state=parts.disk.reason or "ok",
        workers=parts.sampler.rows(parts.roster.pids()),
        begun=books.begun,
        lost=books.lost_by_cause(),
        faults=books.faults,
        told=parts.faults.told | _told_of_names(books.nameless),
        unusual=[told_of(finding) for finding in parts.ledger.unusual.known],
        unattached=parts.roster.unattached(),
        rag=_sink(parts.supervisor),
        sampling=parts.choosing.status(),
        sidecars=parts.supervisor.status(),
        consumers={
            name: ConsumerStatus(**progress._asdict())
            for name, progress in parts.disk.consumers().items()
        },
        optimization=requests.deeds.runs.status(),
        alerts=[shown(alert) for alert in parts.ledger.analyses.of(Alerts).open.values()],
        learning=parts.watching.learning(),
    )


ANSWERS: dict[type, Callable[[Requests, Any], Any]] = {
    AlertsOf: _alerts,
    Changes: _changes,
    Cleanup: _cleanup,
    Errors: _errors,
    FiguresOf: _figures,
    Flush: _flush,
    InFlight: _in_flight,
    IntervalsOf: _intervals,
    Mode: _mode,
    Optimize: _optimize,
    Ping: _ping,
    BucketCallsOf: _bucket_calls,
    Report: _report,
    SlowestOf: _slowest,
    ExemplarOf: _exemplar,
    Stats: _stats,
    Status: _status,
    Stop: _stop,
    TotalsOf: _totals_of,
    Tree: _tree,
}
AT_ONCE = frozenset({Changes, Cleanup, Mode, Optimize, Ping, Report, Stop})
