"""
What the collector knows and must not forget: its state, and the frames by which the state changes.

The state changes in one way only: a `Frame` is journalled, then applied. A restart reads the last
snapshot of the state and applies the frames behind it with the same function, so it arrives where
the dead collector was. Counters that workers keep themselves (begun, lost, faults) are written as
the absolute figures of the last reading; totals, kept calls and the tree as increments.

The books, always: begun = finished + lost + aborted + in flight. *begun* and *lost* come from the
workers' rows, *finished* from drained records, *aborted* from burials; *in flight* is what remains,
and at rest a test compares it with the open rows.

    killed after …             the next collector finds
    drained, not journalled    the records, still in their rings
    journalled, not released   positions beyond the rings' heads: nothing is drained twice
    appended, not journalled   a file longer than listed: it is cut back, the calls are still kept
    buried, not unlinked       the name among the buried: the memory is removed
    cleaned, not erased        the files that were listed then, and are still the same: erased
    lines moved, not listed    see `archive`
    cut, not rewritten         tools whose files still hold what a run's clean-up takes out of them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from shmperf.analysis.anomaly import Findings
from shmperf.analysis.calltree import CallTree
from shmperf.analysis.errorgroups import ErrorGroups
from shmperf.analysis.exemplars import Exemplars
from shmperf.analysis.extremes import Extremes
from shmperf.analysis.failedtimes import FailedTimes
from shmperf.analysis.failures import ErrorsKnown, Failures
from shmperf.analysis.intervals import Intervals
from shmperf.analysis.stats import (
    Books,
    Figures,
    News,
    SessionStats,
    all_stats,
    plain,
    tool_stats,
)
from shmperf.analysis.table import Analyses, Written
from shmperf.analysis.tooltotals import ToolTotals
from shmperf.analysis.totals import ToolStats
from shmperf.config.options import Options
from shmperf.errors import StoreError
from shmperf.files import internals
from shmperf.shm.record import Call

from .counters import Begun, Forgotten, WorkerState, bury, change_worker, count_up, forget
from .history import FileState
from .journal import Journal
from .order import by_end, in_order
from .outbox import OutboxChange, OutboxState
from .segments import Segments, lines_in
from .upgrade import upgraded

__all__ = [
    "Clock",
    "Frame",
    "Ledger",
    "Limits",
    "State",
    "WorkerState",
    "figures_on_disk",
    "load",
    "stats_on_disk",
    "used_bytes",
]


class Clock(msgspec.Struct, array_like=True):
    """Wall time minus the monotonic clock of one boot; it never goes back within one."""

    boot_id: str = ""
    offset_ns: int = 0


class Limits(msgspec.Struct, array_like=True):
    """How many records of a tool are kept: what the configuration of the collector says."""

    default: int
    tools: dict[str, int] = {}

    @classmethod
    def in_force(cls, options: Options) -> Limits:
        """Those of *options*."""
        return cls(options.default_perf_points, options.tool_limits)

    def of(self, tool: str) -> int:
        """Records kept of *tool*."""
        return self.tools.get(tool, self.default)


class State(msgspec.Struct):
    """Everything that a snapshot holds."""

    session: str = ""
    clock: Clock = msgspec.field(default_factory=Clock)
    workers: dict[str, WorkerState] = {}
    buried: set[str] = set()
    gone: WorkerState = msgspec.field(default_factory=WorkerState)
    kept: dict[str, list[Call]] = {}
    files: dict[str, FileState] = {}
    outbox: OutboxState = msgspec.field(default_factory=OutboxState)
    segments: dict[str, Segments] = {}
    erasing: dict[str, FileState] = {}
    erasing_segments: dict[str, Segments] = {}
    faults: dict[str, int] = {}
    forgotten: Forgotten = msgspec.field(default_factory=Forgotten)
    optimization: bool = False
    analyses: dict[str, Written] = {}
    nameless: dict[str, list[str]] = {}
    cutting: dict[str, int] = {}
    limits: Limits | None = None
    # Wall time from which on what is counted was counted; 0 where an older version began.
    since_ns: int = 0

    def begun(self) -> Begun:
        """The calls that have begun, by the counters of their workers."""
        return Begun(self.gone.begun, {name: worker.begun for name, worker in self.workers.items()})

    def drained(self) -> int:
        """All calls that have ended and were drained, whatever was forgotten since."""
        return self.gone.finished + sum(worker.finished for worker in self.workers.values())


class Frame(msgspec.Struct, omit_defaults=True):
    """One change of the state; a field that is empty changes nothing."""

    workers: dict[str, WorkerState] = {}
    kept: dict[str, list[Call]] = {}
    settled: list[tuple[int, list[int], dict[str, tuple[int, int]], int]] = []
    analyses: dict[str, msgspec.Raw] = {}
    files: dict[str, FileState] = {}
    segments: dict[str, Segments] = {}
    written: dict[str, list[int]] = {}
    outbox: OutboxChange | None = None
    buried: list[str] = []
    removed: list[str] = []
    faults: dict[str, int] = {}
    clock: Clock | None = None
    cleaned: bool = False
    erased: bool = False
    optimization: bool | None = None
    nameless: dict[str, list[str]] = {}
    cut: dict[str, int] = {}
    was_cut: list[str] = []
    limits: Limits | None = None
    since_ns: int = 0

    def is_empty(self) -> bool:
        """True when applying it changes nothing."""
        return self == _NOTHING


A = TypeVar("A")

# Of a tool that keeps all: what waits in memory while the disk can't be written.
_MOST_KEPT = 200_000
_NOTHING = Frame()
_encode = msgspec.msgpack.Encoder().encode
_decode_frame = msgspec.msgpack.Decoder(Frame).decode
_decode_state = msgspec.msgpack.Decoder(State).decode


class _Live(Generic[A]):
    """A ledger's analysis of that *kind*; a `restore` exchanges it."""

    def __init__(self, kind: type[A]) -> None:
        self._kind = kind

    def __get__(self, ledger: Ledger, _: type[Ledger]) -> A:
        return ledger.analyses.of(self._kind)


class Ledger:
    """The state, its analyses, and the one function that changes them."""

    totals = _Live(ToolTotals)
    intervals = _Live(Intervals)
    tree = _Live(CallTree)
    errors = _Live(ErrorGroups)
    failures = _Live(Failures)
    exemplars = _Live(Exemplars)
    extremes = _Live(Extremes)
    unusual = _Live(Findings)

    def __init__(self, options: Options, *, is_read: bool = False) -> None:
        """
        Under *options*; of what another process has written and *is_read* here its limits hold.

        Whoever reads it may have another configuration, and nothing is kept or let go by that.
        """
        self.options = options
        self._is_read = is_read
        self.state = State()
        self.analyses = Analyses()

    def configure(self, options: Options) -> None:
        """Take up *options*: limits of what is kept from now on."""
        self.options = options

    def limit_of(self, tool: str) -> int:
        """Records kept of *tool*, -1: all; as was in force where they were kept."""
        limits = self.state.limits
        if self._is_read and limits is not None:
            return limits.of(tool)
        return self.options.limit_of(tool)

    def encode(self) -> bytes:
        """A snapshot of everything."""
        return _encode(msgspec.structs.replace(self.state, analyses=self.analyses.state()))

    def restore(self, snapshot: bytes | None, frames: Iterable[bytes]) -> str | None:
        """
        Take up what a journal holds, and nothing else; what can't be read ends it, and is told.

        Of what one analysis has written nothing else depends: it alone is left out. What was
        counted before belongs to frames that are applied behind it.
        """
        self.state = State()
        self.analyses = Analyses()
        damage: str | None = None
        try:
            if snapshot is not None:
                self.state = _decode_state(snapshot)
                damage = self.analyses.restore(self.state.analyses)
                self.state.analyses = {}
                kept = self.state.kept
                self.state.kept = {tool: in_order(calls) for tool, calls in kept.items()}
            for payload in frames:
                damage = self.apply(_decode_frame(payload)) or damage
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            return f"a journal entry can't be read: {error}"
        return damage

    def apply(self, frame: Frame, *, live: bool = False) -> str | None:
        """
        Change the state by *frame*; what of it can't be read, in a line.

        *live* analyses hold their parts of the change already.
        """
        state = self.state
        if frame.clock is not None:
            state.clock = frame.clock
        if frame.limits is not None:
            state.limits = frame.limits
        if frame.since_ns:
            state.since_ns = frame.since_ns
        if frame.optimization is not None:
            state.optimization = frame.optimization
        _apply_workers(state, frame)
        self._apply_kept(frame)
        _apply_cut(state, frame)
        state.files.update(frame.files)
        state.segments.update(frame.segments)
        if frame.outbox is not None:
            frame.outbox.apply(state.outbox)
        state.faults.update(frame.faults)
        state.nameless.update(frame.nameless)
        damage = None if live else self.analyses.apply(frame.analyses)
        if frame.cleaned:
            self._forget()
        if frame.erased:
            state.erasing, state.erasing_segments = {}, {}
        return damage

    def books(self, workers: int, *, complete: bool) -> Books:
        """What the counters say, cleanups subtracted."""
        state = self.state
        everybody = [state.gone, *state.workers.values()]
        counters = count_up(everybody, state.faults, state.forgotten)
        return Books(
            begun=counters.begun,
            lost=counters.lost,
            losses=counters.losses,
            faults=counters.faults,
            optimization=state.optimization,
            workers=workers,
            complete=complete,
            nameless=dict(state.nameless),
        )

    def stats(
        self,
        tool: str | None,
        workers: int,
        *,
        complete: bool,
        opened: Mapping[str, int] | None = None,
    ) -> ToolStats | SessionStats:
        """What `get_perf_stats` answers; *opened* as in `figures`."""
        limit_of = self.limit_of
        figures = self.figures(tool, workers, complete=complete, opened=opened)
        if tool is None:
            return all_stats(figures.totals, figures.sizes, limit_of, figures.books)
        return tool_stats(
            tool,
            figures.totals.get(tool),
            self.current_size(tool),
            limit_of(tool),
            complete=complete,
            in_flight=figures.books.opened.get(tool, 0),
        )

    def figures(
        self,
        tool: str | None,
        workers: int,
        *,
        complete: bool,
        opened: Mapping[str, int] | None = None,
    ) -> Figures:
        """
        What statistics are made of, of one tool or of all.

        *opened* has the calls that are open now, by tool; without a collector nobody sees them.
        """
        totals = self.totals.known
        if tool is not None:
            totals = {tool: totals[tool]} if tool in totals else {}
        failed = self.analyses.of(FailedTimes).known
        return Figures(
            totals=totals,
            sizes={name: self.current_size(name) for name in totals},
            books=msgspec.structs.replace(
                self.books(workers, complete=complete), opened=dict(opened or {})
            ),
            forgotten=self.state.forgotten.begun,
            since_ns=self.state.since_ns,
            failed={name: types for name, types in failed.items() if name in totals},
        )

    def news(self, after: int) -> News:
        """Totals that have changed after the revision *after* of any process; -1: all."""
        totals = self.totals
        return News(
            revision=totals.revision,
            forgotten=self.state.forgotten.begun,
            totals=totals.changed_after(after),
        )

    def known_errors(self) -> ErrorsKnown:
        """Failed calls in groups."""
        latest = self.exemplars.latest_failed()
        return ErrorsKnown(self.errors.known, self.failures.state(), latest)

    def current_size(self, tool: str) -> int:
        """Records kept of *tool*: on disk and waiting, within its limit."""
        state = self.state
        lines = lines_in(state.files.get(tool), state.segments.get(tool))
        size = lines + len(state.kept.get(tool, ()))
        limit = self.limit_of(tool)
        if self._is_read and state.limits is None:
            # Of an older version: nobody knows what was in force, but what is in files was kept.
            limit = max(limit, lines) if limit >= 0 else limit
        return size if limit < 0 else min(size, limit)

    def _apply_kept(self, frame: Frame) -> None:
        kept = self.state.kept
        for tool, ids in frame.written.items():
            gone = set(ids)
            left = [call for call in kept.get(tool, ()) if call.id not in gone]
            if left:
                kept[tool] = left
            else:
                kept.pop(tool, None)
        for tool, calls in frame.kept.items():
            kept[tool] = _newest(kept.get(tool, []), calls, self.limit_of(tool))
        if frame.settled:
            _attach(kept, frame)

    def _forget(self) -> None:
        state = self.state
        known = self.totals.known.values()
        ended = sum(totals.count + totals.aborted for totals in known)
        everybody = [state.gone, *state.workers.values()]
        shown = count_up(everybody, state.faults, state.forgotten)
        forget(state.forgotten, shown, ended)
        state.kept, state.nameless = {}, {}
        state.erasing, state.files = state.erasing | state.files, {}
        for tool, segments in state.segments.items():
            former = state.erasing_segments.get(tool, segments)
            state.erasing_segments[tool] = segments.with_those_of(former)
            state.segments[tool] = segments.none()
        state.cutting = {}
        self.analyses.clear()


def used_bytes(state: State, limit_of: Callable[[str], int]) -> int:
    """What the lines of tools that keep all fill, and every segment."""
    files = sum(file.size for tool, file in state.files.items() if limit_of(tool) < 0)
    return files + sum(segments.size for segments in state.segments.values())


def _apply_workers(state: State, frame: Frame) -> None:
    for name, change in frame.workers.items():
        change_worker(state.workers, name, change)
    for name in frame.buried:
        worker = state.workers.pop(name, None)
        state.buried.add(name)
        if worker is not None:
            bury(state.gone, worker)
    state.buried.difference_update(frame.removed)


def _apply_cut(state: State, frame: Frame) -> None:
    """Of the tools of a cut, what ended before goes: now what waits, later what is in files."""
    for tool, before_ns in frame.cut.items():
        left = [call for call in state.kept.get(tool, ()) if call.end_ns >= before_ns]
        state.kept.pop(tool, None)
        if left:
            state.kept[tool] = left
        state.cutting[tool] = before_ns
    for tool in frame.was_cut:
        state.cutting.pop(tool, None)


def _newest(kept: list[Call], calls: list[Call], limit: int) -> list[Call]:
    """The newest of *kept*, which are in the order of their ends, and of *calls*; in that order."""
    calls = in_order(calls)
    if kept and calls and by_end(calls[0]) < by_end(kept[-1]):
        # Of several workers: what came late is put where it belongs.
        together = sorted(kept + calls, key=by_end)
    else:
        together = kept + calls
    limit = _MOST_KEPT if limit < 0 else limit
    return together[max(0, len(together) - limit) :]


def _attach(kept: Mapping[str, list[Call]], frame: Frame) -> None:
    """Tell kept calls what has settled of their children."""
    settled = {row[0]: row for row in frame.settled}
    for calls in kept.values():
        for call in calls:
            if call.detail is not None and call.id in settled:
                _, children, totals, self_ns = settled[call.id]
                call.detail.children = children
                call.detail.totals = totals
                call.detail.self_ns = self_ns


def load(storage: Path, options: Options) -> tuple[Ledger, str | None]:
    """
    The state that *storage* holds, without changing anything there; and what is damaged.

    For commands when no collector runs. Raises StoreError when the directory can't be read.
    """
    recovered = upgraded(Journal(internals(storage)).read_only())
    ledger = Ledger(options, is_read=True)
    damage = ledger.restore(recovered.snapshot, recovered.frames)
    return ledger, recovered.damage or damage


def figures_on_disk(
    storage: Path, tool: str | None, options: Options, *, complete: bool = False, mark: str = ""
) -> Figures:
    """
    What statistics are made of, from what the disk holds; *complete* if nothing else does.

    With the extremes since *mark*.
    """
    ledger = _loaded(storage, options)
    found = ledger.figures(tool, len(ledger.state.workers), complete=complete)
    found.extremes = ledger.extremes.since(mark)
    return found


def stats_on_disk(
    storage: Path, tool: str | None, options: Options, *, complete: bool = False
) -> dict[str, Any]:
    """`get_perf_stats` from what the disk holds; *complete* if nothing else does."""
    ledger = _loaded(storage, options)
    return plain(ledger.stats(tool, len(ledger.state.workers), complete=complete))


def _loaded(storage: Path, options: Options) -> Ledger:
    try:
        return load(storage, options)[0]
    except StoreError:
        return Ledger(options)
