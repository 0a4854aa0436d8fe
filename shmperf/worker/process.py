"""
One process's part in a session: its tools, its memory, its grants and rows.

Three objects. A `Worker` is the process's part in a session: segment, ready rows, lock. A `Tool` is
a name that calls are recorded under; a wrapper reaches everything it needs through one tuple,
``tool.bound``, read once a call:

    None                     tracking is off: call the function
    word differs             anything else than a plain call: ask `Worker.route`; so it is for
                             every call of a sampled tool that does not come by its `Sampler`
    (word, session, ready, words, buffer, positions, shift)

where ``word`` is the session word for which the tuple was made, so that a switch of mode, a changed
limit or a fork is seen at the next call by one comparison. A `Lane` is where a tool's records go:
a ring that a larger one replaces; tools without memory of their own share one.

Nothing here raises into a tool. What can't be recorded is counted, by cause, in the segment.
"""

from __future__ import annotations

import atexit
import copyreg
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from shmperf.config.options import Options
from shmperf.errors import Once, tell
from shmperf.session.client import Client
from shmperf.session.rendezvous import Request, enter
from shmperf.session.session import Session, revive
from shmperf.session.word import generation_of, is_in_detail
from shmperf.shm.beyond import beyond_name
from shmperf.shm.record import Callee
from shmperf.shm.segment import SHARED, Fault, Loss, Segment, is_supported
from shmperf.stdlib import os

from .boards import Boards
from .context import current_call
from .failures import is_handlers, is_programs
from .faults import Faults
from .forks import Forks
from .gcwatch import collecting, is_collecting, watch_collections
from .grants import Grants
from .guard import Guard
from .heritage import Heritage
from .lanes import Lanes
from .leaving import wait_until_written
from .losses import Losses
from .remotes import Remotes
from .rows import Rows
from .sampler import Recorder, Sampler, provide_sampler, settle_sampler
from .spans import spans
from .tool import IN_DETAIL, NO_ROOM, NOT_RECORDED, PLAINLY, SAMPLED, UNBOUND, Bound, Route, Tool
from .traceparent import parse_traceparent

__all__ = [
    "Bound",
    "Route",
    "Tool",
    "Worker",
    "enabled_by",
    "named_callee",
    "tool_named",
    "tools",
    "worker",
]

# More than can be named in shared memory; a program that makes up names would fill its own.
_MOST_TOOLS = 1 << 16
# So many in one process: then their names are looked at.
_MANY_TOOLS = 1_000
_told_values = Once()
_ON, _OFF = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}

# Every tool of this process, by its name; `tool_named` makes those that are missing.
tools: dict[str, Tool] = {}
_callees = 0


def tool_named(name: str) -> Tool:
    """
    The tool of that name in this process; made when there is none.

    Beyond a great many it is one tool for all names that have no limit of their own.
    """
    try:
        found = tools.get(name) if type(name) is str else None
        return _made(name) if found is None else found
    except Exception as error:
        # A name that can not be shown, or no memory: its calls are not recorded.
        if is_programs(error):
            raise
        return _untracked


def _made(name: object) -> Tool:
    # What UTF-8 can't hold (lone surrogates) is shown; what is no string is named by it.
    shown = str(name).encode("utf-8", "backslashreplace").decode()
    if len(tools) >= _MOST_TOOLS and shown not in worker.options.tool_limits:
        shown = beyond_name(_MOST_TOOLS)
    # No lock: a signal handler or a finaliser may come here again, from the middle of it.
    found = tools.setdefault(shown, Tool(shown))
    if worker.is_off:
        found.forget(off=True)
    elif len(tools) == _MANY_TOOLS:
        # Needed by nobody who records few tools.
        from .names import tell_of_names  # noqa: PLC0415

        tell_of_names(list(tools))
    return found


# Stands in for a tool that can't be made; nothing switches it on.
_untracked = Tool("")
_untracked.forget(off=True)


def named_callee(tool: Tool) -> int:
    """The line of the name table for calls whose parameters carry their names."""
    try:
        number = tool.named = tool.named or worker.callee(tool, Callee(tool.name))
        return number
    except Exception as error:
        # The call is there all the same.
        if is_programs(error):
            raise
        # Its first line will do; with none at all the names are missing, and the call is there.
        worker.faults.note(error)
        return next(iter(tool.callees.values()), 0)


def enabled_by(environ: Mapping[str, str], name: str = "OPTIMIZED_PERF_TRACKER_ENABLED") -> bool:
    """What the variable *name* says; a value that is neither yes nor no is told, and means yes."""
    text = environ.get(name, "true")
    if text.strip().lower() in _OFF:
        return False
    if text.strip().lower() not in _ON and _told_values.claim((name, text)):
        tell(f"{name}: found {text!r}, expected true or false; taken as true")
    return True


def _hook(worker: Worker) -> None:
    """What is done once a process: watch collections of garbage, and wait at the end."""
    watch_collections()
    if not _is_multiprocessing_child():
        atexit.register(_wait_at_exit, worker)


def _wait_at_exit(worker: Worker) -> None:
    """Wait, bounded, until the calls of a program that ends are on disk."""
    session = worker.session
    if session is None or worker.pid != os.getpid():
        return
    try:
        worker.losses.tell()
        session.start_collector()
        if session.name is not None:
            return  # whoever named it waits for the last drain
        wait_until_written(Client(session.directory, partial(revive, session)))
    except Exception as error:
        # Nothing is in its middle any more that a foreign exception could be meant for.
        if is_handlers(error):
            raise
        tell(f"not every call may be on disk: {type(error).__name__}: {error}")


class Worker:
    """This process's part in a session; everything but `route` runs off the hot path."""

    def __init__(self) -> None:
        self.guard = Guard()
        self._hooked = False
        self._asked_for = False
        self.heritage: Heritage | None = None
        # Where this program's calls go; its forks', too, wherever they are by then.
        self._settled: Request | None = None
        self.forks = Forks(self.guard, tools)
        # The same, for a look at each end of a call.
        self.forked_in = self.forks.calls
        self._begin_again()
        self.is_off = False

    def __reduce__(self) -> str:
        # Where it is sent to, with a function that knows it, there is another one.
        return "worker"

    def _begin_again(self) -> None:
        self.pid = os.getpid()
        self.session: Session | None = None
        # The same, from when it holds locks for us.
        self._entered: Session | None = None
        self.segment: Segment | None = None
        self.losses = Losses(self.guard)
        self.faults = Faults()
        self.rows = Rows(self.guard)
        self.ready = self.rows.ready
        self.remotes = Remotes(self.guard)
        self.boards = Boards(self.guard)
        self.options = Options()
        self.word = -1
        self.off_reason = ""
        self._started = False
        self._lanes: Lanes | None = None
        self._grants: Grants | None = None
        self._uncounted = 0
        self.forks.forget()

    @property
    def is_wanted(self) -> bool:
        """True unless tracking is switched off, or did not come up."""
        if self.is_off or self._started or self._asked_for:
            return not self.is_off
        return enabled_by(os.environ)

    # --- on and off ------------------------------------------------------------------------------

    def switch(self, *, on: bool) -> None:
        """Track or do not track, in this process, from the next call on."""
        with self.guard.lock:
            self.is_off = not on
            if on and self.off_reason:
                self._started, self.off_reason = False, ""
                self._asked_for = True
            for tool in list(tools.values()):
                if not on or tool.bound is None:
                    tool.bound, tool.detailed = UNBOUND if on else None, None
                    tool.word = -1
                    if tool.sampler is not None:
                        tool.sampler.close(off=not on)

    def start(self) -> bool:
        """Join or found a session and create this process's segment; False when that can't be."""
        if self._started:
            return self.segment is not None
        return self.guard.run(self._start_once, lambda: self.segment is not None)

    def _start_once(self) -> bool:
        if not self._started:
            try:
                self._start()
            except Exception as error:
                # Told, and no reason for a tool to fail.
                if is_programs(error):
                    raise
                self._give_up(str(error) or type(error).__name__)
        return self.segment is not None

    def _start(self) -> None:
        if not self._asked_for and not enabled_by(os.environ):
            self._give_up("")
            return
        if not is_supported():
            self._give_up("this platform or interpreter is not supported")
            return
        request = Request.from_environment().beside(self._settled)
        session, segment = enter(request, self._make_segment)
        # First: whoever sees a segment counts in it.
        self.losses.open(session, segment)
        self.faults.open(segment)
        self.session, self.segment = session, segment  # point: worker-entered
        self._settled = msgspec.structs.replace(request, storage=str(session.storage))
        self.options = session.options
        self.rows.open(session, segment)
        own = parse_traceparent(os.environ.get("TRACEPARENT"))
        self.remotes.open(segment, next(iter(self.rows.blocks), 0), own)
        spans.open(self.remotes)
        self.boards.open(segment)
        self._lanes = lanes = Lanes(segment)
        self._grants = grants = Grants(session, segment, self.rows, lanes)
        self.forks.open(segment, self.rows, grants)
        self.word = session.word[0]
        if not self._hooked:  # point: worker-bound
            self._hooked = True
            _hook(self)
        self._started = True
        session.start_collector()  # point: worker-started
        for _ in range(self._uncounted):  # point: worker-collected
            self.losses.count(Loss.NO_ROW, is_refused=True)

    def _make_segment(self, session: Session, name: str) -> Segment:
        self._entered = session
        budget_bytes = session.options.ring.budget_bytes
        return Segment(name, budget_bytes=budget_bytes, fallback=session.directory)

    def _give_up(self, reason: str) -> None:
        """Tracking off in this process; a reason is told once."""
        self._started = True
        self.off_reason = reason or "switched off"
        self.is_off = True
        for tool in list(tools.values()):
            tool.forget(off=True)
        if reason:
            tell(f"tracking is off: {reason}")

    def before_fork(self) -> None:
        """Settle where the calls of this program go, unless a first call has; never raises."""
        if self._settled is None:
            try:
                self._settled = Request.from_environment()
            except Exception:  # noqa: BLE001  a directory that is gone: the child will see
                return

    def after_fork(self) -> None:
        """
        In a child: this is another worker. What it inherited is left to its parent.

        Another thread may have been in the middle of anything, its first call too.
        """
        for _ in range(2):
            try:
                self._after_fork()
                return
            except Exception as error:
                # Tried once more.
                if is_programs(error):
                    raise
        # Better no records than two processes in one memory.
        self._begin_again()
        self._give_up("what a fork has to do in its child failed twice")

    def _after_fork(self) -> None:
        self.guard.forget()  # point: fork-child
        if self.off_reason:
            collecting.clear()
            self.pid = os.getpid()
            return
        if not is_collecting() and current_call.get():
            self.heritage = Heritage(self.rows, self.heritage)
            current_call.set(self.heritage.at_fork(current_call.get(), self.forks.beneath))
        collecting.clear()
        was_off = self.is_off
        if self._entered is not None:
            self._entered.after_fork()
        self._begin_again()
        for tool in list(tools.values()):
            tool.forget(off=was_off)

    # --- routes ----------------------------------------------------------------------------------

    def route(self, tool: Tool) -> Route:
        """
        How the next call of *tool* goes; settles the tool for the present session word.

        A failure of ours is no reason for a tool to fail: the call is not recorded then.
        """
        try:
            route = self._route(tool)
        except Exception as error:
            # Ours is no reason for a tool to fail.
            if is_programs(error):
                raise
            route = self._refused(tool)
        self.losses.tell()
        return route

    def _route(self, tool: Tool) -> Route:
        session = self.session
        if self.is_off:
            return NOT_RECORDED
        if session is not None and tool.word == session.word[0]:
            route = tool.route
            if route is NO_ROOM:
                self.losses.count(Loss.NO_MEMORY)
            return route
        if not self.start():
            if self.guard.is_busy:
                # A number alone: a call on the right would let a handler in between read and store.
                self._uncounted += 1
            return NOT_RECORDED
        return self.guard.run(self._settle, self._refused, tool)

    def _refused(self, tool: Tool) -> Route:
        """A call in the middle of what can't be interrupted is lost by count, if it counts."""
        if self.segment is None:
            self._uncounted += 1
        elif self.options.limit_of(tool.name):
            self.losses.count(Loss.NO_ROW, is_refused=True)
        return NOT_RECORDED

    def _settle(self, tool: Tool) -> Route:
        if self.session is None:
            return NOT_RECORDED
        try:
            word = self.session.word[0]
            if generation_of(word) != generation_of(self.word):
                self.options = self.session.settings.reload()
                if self._grants is not None:
                    self._grants.ring = self.options.ring
            self.word = word
            tool.route = self._route_for(tool, in_detail=is_in_detail(word))
            tool.word = word
            if tool.route.is_recorded and self._grants is not None:
                self._grants.bind(tool)
            settle_sampler(tool, self.session.word, self.session.settings.sampling_of(tool.name))
            if tool.route is NO_ROOM:
                self.losses.count(Loss.NO_MEMORY)
            return tool.route
        except Exception as error:
            # The same.
            if is_programs(error):
                raise
            self.faults.note(error)
            return self._refused(tool)

    def _route_for(self, tool: Tool, *, in_detail: bool) -> Route:
        if self.options.limit_of(tool.name) == 0:
            tool.bound, tool.detailed = UNBOUND, None
            return NOT_RECORDED
        if tool.lane is None and self._lanes is not None:
            if not tool.callees:
                _draw_callee(tool, Callee(tool.name), self.segment)
            lanes, ring = self._lanes, self.options.ring
            tool.lane = lanes.lane_for(tool.name, tool.callees, ring)
        if tool.lane is None:
            tool.bound, tool.detailed = UNBOUND, None
            return NO_ROOM
        if in_detail:
            return IN_DETAIL
        every = 1 if self.session is None else self.session.settings.sampling_of(tool.name).every
        is_sampled = every > 1 and provide_sampler(tool, self.segment)
        return SAMPLED if is_sampled else PLAINLY

    # --- lanes -----------------------------------------------------------------------------------

    def callee(self, tool: Tool, callee: Callee) -> int:
        """
        The number of *callee*, in every segment of this process and its forks.

        0 is a tool without a name: whoever reads its records counts them with others of the kind.
        """
        number = tool.callees.get(callee)
        if number is None:
            number = self.guard.run(_draw_callee, _no_callee, tool, callee, self.segment)
        return number

    def refill(self, tool: Tool, exhausted: Iterator[int]) -> bool:
        """
        Another grant for *tool* than the *exhausted* one; False when the ring is full.

        A signal handler or finaliser that calls a tool while this runs is refused.
        """
        if os.getpid() != self.pid:
            self.after_fork()
            return False
        if self._grants is None:
            return False
        spans.look()
        refilled = self.guard.run(self._grants.refill, _refuse_refill, tool, exhausted)
        self.losses.tell()
        return refilled


def _refuse_refill(_tool: Tool, _exhausted: Iterator[int]) -> bool:
    return False


def _draw_callee(tool: Tool, callee: Callee, segment: Segment | None) -> int:
    global _callees  # noqa: PLW0603  numbers are unique in a process, whoever draws them
    number = _callees + 1
    if number >= SHARED:
        number = _no_callee(tool, callee, segment)
    else:
        _callees = number
        if tool.lane is not None and segment is not None and not segment.add_callee(number, callee):
            number = _no_callee(tool, callee, segment)
    tool.callees[callee] = number
    return number


def _no_callee(tool: Tool, _callee: Callee, segment: Segment | None) -> int:
    """
    A number where none is to be had: numbers are used up, or a signal handler interrupts a refill.

    The tool's first will do: only the names of parameters are wrong then.
    """
    first = next(iter(tool.callees.values()), 0)
    if first and segment is not None:
        segment.count_fault(Fault.TOO_MANY_CALLEES)
    return first


def _is_multiprocessing_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


# A process that gets a tool, with a function that knows it, has one of that name itself.
def _named_there(tool: Any) -> Any:
    return tool_named, (tool.name,)


copyreg.pickle(Tool, _named_there)
# Of either it gets the tool, which is sampled there or is not.
copyreg.pickle(Sampler, _named_there)
copyreg.pickle(Recorder, _named_there)
worker = Worker()
# Now, as the first call may be made while another thread forks.
os.register_at_fork(before=worker.forks.look_beneath)
os.register_at_fork(
    before=worker.before_fork,
    after_in_child=worker.after_fork,
    after_in_parent=worker.forks.note,
)
