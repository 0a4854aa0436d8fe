"""
The worker's face: manual calls, the switch, and the questions that a program asks its session.

Recording is in `worker` and `wrappers`; this module is what a program calls by hand. Nothing here
raises because of tracking: without a session the answers are empty, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Self

from shmperf.compiled.chosen import hot
from shmperf.errors import SessionError, tell
from shmperf.session.asking import Cleanup, Flush, Optimize, Stats
from shmperf.session.client import Client
from shmperf.session.session import revive
from shmperf.session.word import is_in_detail
from shmperf.shm.segment import Fault
from shmperf.stdlib import os, secrets, time

from .context import Pair, current_call, hex_id, outermost_open, parent_of, parse_id
from .failures import is_programs
from .gcwatch import collecting, is_collecting
from .opencall import new_call, note_in_detail
from .process import named_callee, tool_named, worker
from .quickcall import QuickCall
from .tool import Tool
from .zeros import zeros

__all__ = [
    "Tracker",
    "annotate",
    "cleanup_perf_data",
    "end_tool_call",
    "flush",
    "get_perf_stats",
    "get_tracker",
    "optimize",
    "set_optimization_mode",
    "track_tool_call",
]

_STATS_WAIT_S = 5.0
_CLEANUP_WAIT_S = 10.0
# What a run takes besides its seconds: a collector that comes up, and the writing of its report.
_RUN_WAIT_S = 30.0
_POLL_S = 0.1
_LONGEST_RUN_S, _MOST_RUN_CALLS = 86_400.0, 1_000_000

# Started and not yet ended, by id; a dict's own operations are atomic.
_pairs: dict[str, _Started] = {}


class _Started(QuickCall):
    """A call that is begun and ended by hand, anywhere in its process."""

    __slots__ = ("_pair",)

    _times_cpu = False

    def __init__(self, tool: Tool) -> None:
        self._tool, self._callee, self._args = tool, tool.named, ()
        self._row = self._call_id = 0
        self._opened = None
        self._pair: Pair | None = None

    def begin(self, params: Any) -> str:
        """Begin it, make it current and return its id; empty when it is not recorded."""
        is_mapping = type(params) is dict or isinstance(params, Mapping)
        self._kwargs = {} if params is None else params if is_mapping else {"params": params}
        self._enter(in_order=True)
        return self.announce()

    def announce(self) -> str:
        """What has begun is known by its id from here on, and current; empty when it has not."""
        begun = self._opened
        if begun is None:
            call_id, outer = self._call_id, self._outer
        else:
            call_id, outer = begun.call_id, begun.outer
            if not call_id:
                return ""
        self._pair = pair = Pair(call_id, outer)
        key = hex_id(call_id)
        _pairs[key] = self
        if not collecting or not is_collecting():
            current_call.set(pair)
        return key

    def end(self, error: BaseException | str | None) -> None:
        """End it and restore the context; as often as one likes."""
        if self._pair is not None:
            self._pair.is_open = False
        self._exit(None, error, None)

    def note(self, metadata: Mapping[str, Any]) -> None:
        """Add to its metadata, which optimization mode keeps."""
        self._note(metadata)

    def give_up(self, error: BaseException) -> None:
        """End what was struck with *error* in its beginning: nobody else would."""
        if self._pair is not None:
            _pairs.pop(hex_id(self._pair.call_id), None)
        self.end(error)

    def _enter_anyhow(self, *, in_order: bool) -> Self:  # noqa: ARG002  it is never left in order
        begun = self._opened = new_call(self._tool, self._callee or named_callee(self._tool))
        begun.begin((), self._kwargs)
        return self

    def _exit_anyhow(self, error: Any) -> None:
        try:
            if self._row or (self._opened is not None and self._opened.call_id):
                self._call().end(error)
        finally:
            self._leave(current_call.get())

    def _leave(self, now: int | Pair) -> None:
        begun = self._opened
        own = self._call_id if begun is None else begun.call_id
        inside = now.call_id if isinstance(now, Pair) else now
        if own and inside == own and not (collecting and is_collecting()):
            if begun is not None:
                current_call.set(begun.restored(begun.outer))
            else:
                outer = self._outer
                current_call.set(outer if type(outer) is int else outermost_open(outer))


def _begun(tool: str, params: Any) -> str:
    found = tool_named(tool)
    if found.bound is None:
        return ""
    started = _Started(found)
    try:
        return started.begin(params)
    except BaseException as error:
        # Its id is never told.
        started.give_up(error)
        if is_programs(error):
            raise
        return ""


def _gave_up(started: _Started, error: BaseException) -> str:
    """The same for one that began in C."""
    started.give_up(error)
    if is_programs(error):
        raise error
    return ""


def _ended(id: Any, error: BaseException | str | None, metadata: Any) -> None:
    started = None
    try:
        # No call of anything, in which it could be struck.
        key = id if id.__class__ is str else ""
        try:
            # Taken and known in one step, which a signal handler can't get into.
            for started in map(_pairs.pop, [key], [None]):  # noqa: B007  below
                break
            if metadata is not None and started is not None and isinstance(metadata, Mapping):
                started.note(metadata)
        finally:
            if started is None:
                # Unknown, of a type of its own, or struck before it was taken.
                started = _pairs.pop(hex_id(parse_id(id)), None)
            if started is not None:
                try:
                    started.end(error)
                except BaseException:
                    # An interruption of the end: ended, and passed on.
                    started.end(error)
                    raise
        if started is None and not worker.is_off and (id or worker.segment is not None):
            worker.faults.count(Fault.ENDED_TWICE if parse_id(id) else Fault.UNKNOWN_ID)
    except Exception as struck:
        # A failure of ours is none of the program's.
        if is_programs(struck):
            raise


def _ended_again(started: _Started, error: BaseException) -> None:
    """Ended, although its end was struck with *error*; an interruption is passed on."""
    started.end(None)
    if is_programs(error):
        raise error


_begin, _end = None, _ended
if hot is not None:
    hot.adopt_pairs(
        _Started,
        Pair,
        pairs=_pairs,
        pure_begin_pair=_begun,
        pure_end_pair=_ended,
        pair_announced=_Started.announce,
        pair_gave_up=_gave_up,
        pair_ended_again=_ended_again,
    )
    _begin, _end = hot.Begin(), hot.end_pair


def track_tool_call(tool: str, params: Mapping[str, Any] | None = None) -> str:
    """
    Begin a call by hand and return its id: the 16 hexadecimal digits that the history shows.

    It is current until `end_tool_call`, which may come from another thread or task. Where nothing
    is recorded (tracking off, limit 0) the id is empty.
    """
    if _begin is None:
        return _begun(tool, params)
    try:
        # Not by a call: behind one a signal handler could get in, and nobody would know the id.
        begun: str = _begin[tool, params]
        return begun
    except MemoryError as error:
        # None to ask with; nothing has begun.
        if is_programs(error):
            raise
        return ""


def end_tool_call(
    id: str,
    error: BaseException | str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """
    End the call that `track_tool_call` began, in any thread or task of the same process.

    An id that is unknown, empty or ended before is counted as a fault.
    """
    try:
        _end(id, error, metadata)
    except BaseException:
        # An interruption, passed on; before its first line it has not ended anything.
        if type(id) is str and id in _pairs:
            _ended(id, error, metadata)
        raise


def annotate(**metadata: Any) -> None:
    """Add to the current call's metadata; kept in optimization mode, else nothing happens."""
    note_in_detail(parent_of(current_call.get()), metadata)


class Tracker:
    """What `get_tracker` gives: the state of tracking in this process."""

    @property
    def enabled(self) -> bool:
        """Whether calls of this process are recorded; set it to switch, at once."""
        return worker.is_wanted

    @enabled.setter
    def enabled(self, on: bool) -> None:
        worker.switch(on=bool(on))

    @property
    def mode(self) -> str:
        """``"normal"``, ``"optimization"`` or ``"off"``."""
        if not worker.is_wanted or not worker.start():
            return "off"
        session = worker.session
        if session is None:
            return "off"
        return "optimization" if is_in_detail(session.word[0]) else "normal"

    @property
    def session(self) -> str | None:
        """The session's name, or its directory's when it has none; None outside a session."""
        session = worker.session
        return None if session is None else session.name or session.directory.name

    @property
    def lost(self) -> dict[str, int]:
        """Calls of this process without a record, by cause."""
        return worker.segment.losses() if worker.segment is not None else {}

    @property
    def faults(self) -> dict[str, int]:
        """What else went wrong in this process, by cause."""
        return worker.segment.faults() if worker.segment is not None else {}


_tracker = Tracker()


def get_tracker() -> Tracker:
    """The state of tracking in this process."""
    return _tracker


def set_optimization_mode(enabled: bool) -> None:
    """
    Switch the mode of the whole session, for calls that start afterwards, in every process.

    Where that can't be it is told, and the mode stays.
    """
    try:
        if worker.start() and worker.session is not None:
            worker.session.settings.set_mode(bool(enabled))
    except Exception as error:
        # Of ours, or the program's own.
        if is_programs(error):
            raise
        tell(f"the mode was not switched: {error}")


def get_perf_stats(tool: str | None = None) -> dict[str, Any]:
    """
    Statistics of the session: one tool's, or all.

    They include every call that had ended in this process before. Waits at most five seconds for
    a collector, also for the next one where one is killed, then answers from disk with
    ``complete`` false; with tracking off, zeros.
    """
    client = _client()
    try:
        return _answered(client, tool)
    except Exception as error:
        # The reader of the disk can't be imported here; or the program's own.
        if is_programs(error):
            raise
    return zeros(tool, "off" if client is None else _tracker.mode)


def _answered(client: Client | None, tool: str | None) -> dict[str, Any]:
    """What the collector says, else the disk; raises what keeps modules from being imported."""
    if client is None:
        # Off the hot path, and needed by nobody who records: the figures' module.
        from shmperf.analysis.stats import empty_stats  # noqa: PLC0415

        return empty_stats(tool)
    try:
        answer: dict[str, Any] = client.ask(Stats(tool), _STATS_WAIT_S)
        return answer
    except Exception as error:
        # Of ours, or the program's own.
        if is_programs(error):
            raise
    # Off the hot path, and needed by nobody else who records: the reader of the disk.
    from shmperf.storage.state import stats_on_disk  # noqa: PLC0415

    assert worker.session is not None  # noqa: S101  _client() has just used it
    return stats_on_disk(worker.session.storage, tool, worker.options)


def cleanup_perf_data() -> None:
    """
    Forget history and statistics of the whole session and delete its files.

    Nothing happens when the configuration's ``cleanup_on_optimize`` is false.
    """
    _ask(Cleanup(force=False), _CLEANUP_WAIT_S)


def flush(timeout_s: float = 10.0) -> bool:
    """True once everything that ended before, in every process of the session, is on disk."""
    return _ask(Flush(), timeout_s)


def optimize(seconds: float | None = None, calls: int | None = None) -> dict[str, Any]:
    """
    The report of a run of the optimization cycle, which begins now, or of the one going on.

    All processes of the session record in detail until *calls* calls were, or *seconds* passed (as
    configured where that is None); then everything is as before. Waits that long, and for a
    collector half a minute more. Where there is no report, an empty one whose ``note`` says why.
    Parameters out of bounds are a ValueError. ``shmperf help optimization`` names the keys.
    """
    if seconds is not None:
        if not 0 < seconds <= _LONGEST_RUN_S:
            raise ValueError(f"seconds: found {seconds}, expected up to {_LONGEST_RUN_S}")
        seconds = float(seconds)
    if calls is not None:
        if not (1 <= calls <= _MOST_RUN_CALLS and calls == int(calls)):
            raise ValueError(f"calls: found {calls}, expected 1 to {_MOST_RUN_CALLS}")
        calls = int(calls)
    problem = "tracking is off"
    client = _client()
    if client is not None:
        patience_s = worker.options.optimization.run_seconds if seconds is None else seconds
        try:
            report = _report_of(client, seconds, calls, patience_s + _RUN_WAIT_S)
            if report is not None:
                return report
            problem = "the run did not end in time"
        except Exception as error:
            # Of ours, or the program's own.
            if is_programs(error):
                raise
            problem = str(error)
    # Off the hot path, and needed by nobody who records: the report's module.
    from shmperf.analysis.runreport import empty_report  # noqa: PLC0415

    return empty_report(problem)


def _report_of(
    client: Client, seconds: float | None, calls: int | None, patience_s: float
) -> dict[str, Any] | None:
    """What comes of a run, asked for until it is over; None when that takes too long."""
    token, deadline = secrets.token_hex(8), time.monotonic() + patience_s
    while (left_s := deadline - time.monotonic()) > 0:
        found = client.ask(Optimize(token, seconds, calls), left_s)
        if found["is_over"]:
            report: dict[str, Any] | None = found["report"]
            if report is None:
                raise SessionError(found["problem"] or "the report can't be read")
            return report
        time.sleep(min(_POLL_S, max(0.01, found["left_s"])))
    return None


def _client() -> Client | None:
    """Who answers for the session; a collector is started where this session starts its own."""
    if worker.is_off or not worker.start() or worker.session is None:
        return None
    if worker.pid != os.getpid():
        worker.after_fork()
        return _client()
    session = worker.session
    return Client(session.directory, partial(revive, session))


def _ask(request: Flush | Cleanup, timeout_s: float) -> bool:
    client = _client()
    if client is None:
        return False
    try:
        client.ask(request, timeout_s)
    except Exception as error:
        # Of ours, or the program's own.
        if is_programs(error):
            raise
        return False
    return True
