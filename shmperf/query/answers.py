"""
Where a command gets its answers: the collector of a session, or the storage directory without one.

A command names a session, or a storage directory, or neither; then the environment and the
configuration in the working directory decide, as they would for a program started there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from heapq import nlargest
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from shmperf.analysis.alerts import Alerts, known_alerts, shown
from shmperf.analysis.anomaly import told_of
from shmperf.analysis.diff import Earlier
from shmperf.analysis.exemplars import Exemplar
from shmperf.analysis.failures import ErrorsKnown
from shmperf.analysis.shownalert import ShownAlert
from shmperf.analysis.spans import IntervalsView
from shmperf.analysis.stats import Figures, plain
from shmperf.analysis.treestate import Edge
from shmperf.config.locate import resolve
from shmperf.config.options import Options
from shmperf.errors import ConfigError, FormatError, NoAnswer, SessionError, StoreError
from shmperf.files import internals, reason_of, shown_path
from shmperf.session.client import Client
from shmperf.session.messages import (
    AlertsOf,
    ConsumerStatus,
    Errors,
    ExemplarOf,
    FiguresOf,
    Flush,
    InFlight,
    IntervalsOf,
    OpenCallAnswer,
    Ping,
    Question,
    RunStatus,
    SessionStatus,
    SinkStatus,
    SlowestOf,
    Stats,
    Status,
    Stop,
    Tree,
    WorkerStatus,
)
from shmperf.session.paths import named_directory, runtime_root
from shmperf.session.rendezvous import Request, known_storage, session_of_storage, working_directory
from shmperf.session.session import Session, attach, revive
from shmperf.session.sidecar import last_report
from shmperf.session.unwritten import read_unwritten
from shmperf.session.word import is_in_detail
from shmperf.storage import alertfile
from shmperf.storage.consumer import consumers
from shmperf.storage.failing import ErrorGroup, groups_of
from shmperf.storage.journal import Journal, snapshot_mark
from shmperf.storage.kept import KeptCall, as_kept, kept_call, rising_floor
from shmperf.storage.reading import EVERYTHING, read
from shmperf.storage.reports import names
from shmperf.storage.segmentfile import Window
from shmperf.storage.sizes import bytes_by_kind
from shmperf.storage.state import Ledger, load

__all__ = ["Answers", "TellOnce", "check_storage", "find_answers", "request_for"]

T = TypeVar("T")

_WAIT_S = 10.0
_LEAVING_S = 2.0
# Answers to the others have no place to say so in.
_SAY_IT_THEMSELVES = frozenset({Stats, FiguresOf, Status})
# What every version understands, and answers in the same way.
_OF_ANY_VERSION = frozenset({Ping, Status, Stop})
# Of one who asks again and again and meets ever new things.
_MOST_TOLD = 1_000
_SHORT = "no collector answered; calls that it would have drained are missing here"


class Answers:
    """The one face of both; every method may raise ShmperfError."""

    def __init__(
        self,
        storage: Path,
        options: Options,
        session: Session | None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """*tell* is told what is wrong beside an answer; without, each once on standard error."""
        self.storage = storage
        self.options = options
        self.session = session
        if session is not None and session.presences():
            # An unnamed session looks after its own collector; so does who reads it.
            session.start_collector()
        self.has_collector = session is not None and session.has_collector()
        # That its last session knew of more calls than could be written.
        self.has_told_missing = False
        # For who asks very much in a row: what lies at rest is read once, for all of it.
        self.is_of_one_moment = False
        # With what its reader wants it compared.
        self.earlier: Earlier | None = None
        self._held: tuple[Ledger, bool] | None = None
        self._tell = tell or TellOnce()

    def ask(self, question: Question, timeout_s: float = _WAIT_S) -> Any:
        """The collector's answer; SessionError when none runs, or one of another version."""
        if self.session is None or not self.has_collector:
            raise NoAnswer("no collector is running")
        if self.session.is_foreign and type(question) not in _OF_ANY_VERSION:
            raise SessionError(
                f"{shown_path(self.storage)} is in use by programs of another version of shmperf; "
                "of this version `status` and `stop` reach them"
            )
        return Client(self.session.directory, self._revive).ask(question, timeout_s)

    def _revive(self) -> None:
        """While nobody listens: one is coming up, or is started, or is not worth waiting for."""
        session = self.session
        if session is None or session.has_collector():
            return
        if not (session.is_in_place and session.keeps_itself and session.presences()):
            raise NoAnswer("no collector is running")
        revive(session)

    def _asked(self, question: Question, kind: type[T]) -> T | None:
        """The collector's answer; None when none runs, or it has just ended its session."""
        if self.session is None:
            return None
        try:
            return msgspec.convert(self.ask(question), kind)
        except msgspec.ValidationError as error:
            raise SessionError(f"the collector's answer can't be read: {error}") from None
        except NoAnswer:
            deadline = time.monotonic() + _LEAVING_S
            while self.has_collector and self.session.has_collector():
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            self.has_collector = False
            if type(question) not in _SAY_IT_THEMSELVES and not _is_complete(self.session):
                self._tell(_SHORT)
            return None

    def stats(self, tool: str | None = None) -> dict[str, Any]:
        """The statistics, from disk when no collector runs."""
        answer = self._asked(Stats(tool), dict[str, Any])
        if answer is not None:
            return answer
        ledger, complete = self._at_rest()
        return plain(ledger.stats(tool, len(ledger.state.workers), complete=complete))

    def figures(self) -> Figures:
        """What the statistics of all tools are made of, from disk when no collector runs."""
        answer = self._asked(FiguresOf(), Figures)
        if answer is not None:
            return answer
        ledger, complete = self._at_rest()
        return ledger.figures(None, len(ledger.state.workers), complete=complete)

    def tree(self) -> list[Edge]:
        """The graph from tool to tool."""
        answer = self._asked(Tree(), list[Edge])
        if answer is not None:
            return answer
        return self._on_disk().tree.graph({})

    def intervals(
        self, tool: str | None = None, since_s: float | None = None, until_s: float | None = None
    ) -> IntervalsView:
        """What one tool did, or all, in every interval between two times (Unix seconds)."""
        answer = self._asked(IntervalsOf(tool, since_s, until_s), IntervalsView)
        if answer is not None:
            return answer
        return self._on_disk().intervals.view(tool, since_s, until_s)

    def alerts(self) -> list[ShownAlert]:
        """What was wrong and what still is, in the order of its begin; StoreError."""
        found = self._asked(AlertsOf(), list[ShownAlert])
        if found is None:
            found = known_alerts(self._on_disk().analyses.of(Alerts))
        try:
            known = {alert.id: alert for alert in alertfile.read(self.storage)}
        except OSError as error:
            raise StoreError(f"{alertfile.ALERTS}: {reason_of(error)}") from error
        opened = {alert.id for alert in found if alert.ended is None}
        # Of one that began and has no end a cleanup or a lost journal knows nothing any more.
        known = {one: alert for one, alert in known.items() if alert.ended or one in opened}
        known |= {alert.id: alert for alert in found}
        return sorted(known.values(), key=lambda alert: (alert.began, alert.id))

    def in_flight(self) -> list[OpenCallAnswer]:
        """The calls that are open now; none can be seen without a collector."""
        return self._asked(InFlight(), list[OpenCallAnswer]) or []

    def status(self, *, with_sizes: bool = True) -> SessionStatus:
        """
        How the session is; ``collector`` is None when none runs.

        *with_sizes* looks at each file, of which there may be one a tool.
        """
        answer = self._asked(Status(), SessionStatus)
        if answer is not None:
            answer.bytes = bytes_by_kind(self.storage) if with_sizes else {}
            return answer
        session = self.session
        state = "ok" if self.storage.is_dir() else "no such directory"
        try:
            ledger = self._on_disk()
        except StoreError as error:
            if session is None:
                raise
            # Of a session there is more to say than what its storage holds.
            ledger, state = Ledger(self.options), str(error)
        books = ledger.books(0, complete=False)
        return SessionStatus(
            session=None if session is None else session.name or session.directory.name,
            storage=shown_path(self.storage),
            mode=self.mode(),
            collector=None,
            storage_state=state,
            workers=[WorkerStatus(pid=pid) for pid in _pids(session)],
            begun=books.begun,
            lost=books.lost_by_cause(),
            faults=books.faults,
            told={},
            unusual=[told_of(finding) for finding in ledger.unusual.known],
            rag=_sink_at_rest(self.storage),
            consumers=_consumers_at_rest(self.storage),
            optimization=RunStatus(last_report=next(reversed(names(self.storage)), None)),
            bytes=bytes_by_kind(self.storage),
            alerts=[shown(alert) for alert in ledger.analyses.of(Alerts).open.values()],
        )

    def errors(self) -> ErrorsKnown:
        """Every failed call since the last cleanup, in groups."""
        answer = self._asked(Errors(), ErrorsKnown)
        return self._on_disk().known_errors() if answer is None else answer

    def _on_disk(self) -> Ledger:
        """What the storage directory holds, nothing where there is none; StoreError."""
        return self._at_rest()[0]

    def _at_rest(self) -> tuple[Ledger, bool]:
        """
        What the storage directory holds, and whether that is all there is.

        StoreError where it can't be read, or is too damaged to tell anything: zeros would be taken
        for the truth. What was counted before a damage is the answer, and the rest is told once.
        """
        if self._held is not None and self.is_of_one_moment:
            return self._held
        try:
            ledger, damage = load(self.storage, self.options)
        except FormatError as error:
            raise _unreadable(self.storage, error) from error
        if damage:
            self._tell(_damaged(self.storage, ledger, damage))
        missing = _missing_in(self.storage, ledger)
        if missing and not self.has_told_missing:
            self.has_told_missing = True
            self._tell(missing)
        found = ledger, _is_complete(self.session) and not damage and not missing
        self._held = found if self.is_of_one_moment else None
        return found

    def mode(self) -> str:
        """The session's mode; without a session, the configured one."""
        if self.session is None:
            in_detail = self.options.optimization.enabled
        else:
            in_detail = is_in_detail(self.session.word[0])
        return "optimization" if in_detail else "normal"

    def history(
        self,
        tool: str | None = None,
        is_wanted: Callable[[bytes], bool] | None = None,
        window: Window = EVERYTHING,
    ) -> Iterator[dict[str, Any]]:
        """
        The lines on disk, or those that are wanted, once all that had ended is written.

        What lies in segments outside of *window* is not even read. Damage is told on stderr.
        """
        self._asked(Flush(), bool)
        if not self.storage.is_dir():
            raise StoreError(f"{self.storage}: no such directory; nothing was recorded there")
        return read(self.storage, tool, is_wanted, window, self._tell)

    def calls(
        self,
        tool: str | None = None,
        is_wanted: Callable[[bytes], bool] | None = None,
        window: Window = EVERYTHING,
    ) -> Iterator[KeptCall]:
        """The kept calls, or those that are wanted, in one shape; in the order of `history`."""
        return map(kept_call, self.history(tool, is_wanted, window))

    def exemplar(self, call_id: str) -> Exemplar | None:
        """What is kept of that call with what lay below it, or of a call that it lay below."""
        answer = self._asked(ExemplarOf(call_id), list[Exemplar])
        if answer is None:
            return self._on_disk().exemplars.holding(int(call_id, 16))
        return answer[0] if answer else None

    def slowest(self, most: int, tool: str | None = None) -> list[KeptCall]:
        """The *most* slowest calls of all that ended: of exemplars and lines of history."""
        lines = self.history(tool, rising_floor(most))
        kept = nlargest(most, map(kept_call, lines), key=_duration)
        answer = self._asked(SlowestOf(most, tool), list[Exemplar])
        found = self._on_disk().exemplars.slowest(most, tool) if answer is None else answer
        ids = {call.id for call in kept}
        calls = (as_kept(exemplar.call) for exemplar in found)
        kept += [call for call in calls if call.id not in ids]
        return nlargest(most, kept, key=_duration)

    def error_groups(self, tool: str | None = None) -> list[ErrorGroup]:
        """Failed calls in groups, the largest first: by fingerprint where caught, else by class."""
        # Only lines of failed calls say how a call ended; the others need not be taken apart.
        kept = map(kept_call, self.history(tool, _tells_of_its_end))
        return sorted(groups_of(self.errors(), kept, tool), key=lambda group: -group.count)


def _missing_in(storage: Path, ledger: Ledger) -> str:
    """What the last collector knew and could not write, in a line; empty for nothing."""
    note = read_unwritten(runtime_root(os.environ), storage, snapshot_mark(internals(storage)))
    missing = 0 if note is None else note.begun - ledger.state.begun().beside(note.left)
    if note is None or missing <= 0:
        return ""
    begun = ledger.books(0, complete=False).begun + missing
    return (
        f"{shown_path(storage)}: storage could not be written before its session ended "
        f"({note.reason}): of {begun:,} calls begun {missing:,} are missing here"
    )


def _is_complete(session: Session | None) -> bool:
    """True when the disk holds everything: nobody's memory waits for a collector."""
    return session is None or not session.presences()


def _pids(session: Session | None) -> list[int]:
    """The processes that wait for a collector."""
    waiting = [] if session is None else session.presences()
    return [p.identity.pid for p in waiting if p.identity is not None and p.is_alive()]


def _sink_at_rest(storage: Path) -> SinkStatus | None:
    """What the last sink said of itself."""
    report = last_report(storage)
    return None if report is None else SinkStatus(**msgspec.structs.asdict(report))


def _consumers_at_rest(storage: Path) -> dict[str, ConsumerStatus]:
    """Who waits for lines of the outbox."""
    try:
        waiting = consumers(storage)
    except StoreError:
        return {}
    return {name: ConsumerStatus(**progress._asdict()) for name, progress in waiting.items()}


def _unreadable(storage: Path, error: OSError | FormatError) -> StoreError:
    if isinstance(error, FormatError):
        return StoreError(f"{shown_path(storage)}: {error}; use the shmperf that wrote it")
    return StoreError(f"{shown_path(storage)}: {reason_of(error)}")


def _damaged(storage: Path, ledger: Ledger, damage: str) -> str:
    """What to say beside the answer of what lay before *damage*; StoreError if that is nothing."""
    journal = f"{shown_path(internals(storage))}: the journal is damaged ({damage})"
    if not ledger.books(0, complete=False).begun:
        said = "the history files beside it are as they were, and the next program begins anew"
        raise StoreError(f"{journal}; {said}")
    return f"{journal}; calls behind the damage are missing here"


def check_storage(answers: Answers) -> None:
    """Raise StoreError when no collector runs and what the disk holds can't be read."""
    if answers.has_collector:
        return
    try:
        next(answers.storage.iterdir(), None)
        Journal(internals(answers.storage)).read_only()
    except FileNotFoundError:
        return  # deleted, or not made yet: a session may be there all the same
    except (OSError, FormatError) as error:
        raise _unreadable(answers.storage, error) from error


class TellOnce:
    """Tells each thing once on standard error: who looks again meets the same damage again."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, text: str) -> None:
        """Say *text*, unless it has been said; of very many only the first."""
        if text not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(text)
            print(f"shmperf: {text}", file=sys.stderr, flush=True)


def _duration(call: KeptCall) -> float:
    return call.duration_s or 0.0


def _tells_of_its_end(text: bytes) -> bool:
    return b'"status"' in text


def _storage_for(request: Request, tell: Callable[[str], None]) -> tuple[Options, Path]:
    """
    Where *request* leads by its flags and configuration.

    A broken configuration that nobody named is told, and what it led to last time still holds.
    """
    try:
        options, _ = resolve(request.config, request.environ, Path(request.cwd))
        path = request.storage or options.storage.path
    except ConfigError as error:
        if request.config:
            raise
        tell(str(error))
        options = Options()
        path = request.storage or str(known_storage(request) or options.storage.path)
    return options, Path(os.path.normpath(Path(request.cwd) / path))


def request_for(
    *,
    session: str | None,
    storage: str | None,
    config: str | None,
    environ: Mapping[str, str],
    is_transient: bool = False,
) -> Request:
    """The request that a command's flags and the environment make."""
    name = session or (None if storage else environ.get("SHMPERF_SESSION") or None)
    return Request(working_directory(), dict(environ), name, config, storage, is_transient)


def find_answers(request: Request, tell: Callable[[str], None] | None = None) -> Answers:
    """
    Who answers for *request*; raises ShmperfError when a named session does not exist.

    Whoever asks again and again says how to *tell* what is wrong beside the answers.
    """
    tell = tell or TellOnce()
    if request.name:
        session = attach(named_directory(runtime_root(request.environ), request.name))
        return Answers(session.storage, session.options, session, tell)
    options, storage = _storage_for(request, tell)
    found = session_of_storage(storage)
    return Answers(storage, found.options if found is not None else options, found, tell)
