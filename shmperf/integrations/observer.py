"""
What a framework's hook tells: calls that somebody else begins and ends, each counted once.

An integration has one `Observer`, named after its framework, and turns each tool call that the hook
reports into a `Sight`, from the hook's beginning to its end, which may be in different threads and
tasks. Several may report one call: a hook, the decorator of the function beneath it, a second
framework, OpenTelemetry. Whoever comes first records it. The rule that tells the same call from
another one:

    a call that begins directly beneath an open call of the same tool, reported by an observer
    that has not seen that call yet, *is* that call; everything else is a call of its own

So an agent's tool that calls itself is two calls (one observer, twice), and a function decorated
with ``@track("other")`` is a call beneath its tool's (two tools). A second sight adds what it knows
as metadata, and nothing else.

Frameworks are foreign, and change: what a hook hands over is looked at in `guard`, and what goes
wrong there is counted as a fault and told once, never raised into the tool.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from shmperf.errors import tell
from shmperf.shm.record import Outcome
from shmperf.shm.segment import Fault, Loss
from shmperf.worker.adoption import mentioned
from shmperf.worker.capture import error_text
from shmperf.worker.context import (
    TRACKED,
    Pair,
    Seen,
    current_call,
    hex_id,
    outermost_open,
    parent_in,
    parent_of,
    parse_id,
)
from shmperf.worker.failures import is_handlers, is_programs
from shmperf.worker.gcwatch import is_collecting
from shmperf.worker.opencall import OpenCall, note_in_detail
from shmperf.worker.outcome import status_for, status_named
from shmperf.worker.process import named_callee, tool_named, worker
from shmperf.worker.signature import positional_names

__all__ = ["Observer", "Sight", "foreign_call", "named_params", "shared_call", "taken_up"]

P = ParamSpec("P")
R = TypeVar("R")

# Calls of decorated functions that a hook beneath them has seen; the oldest are forgotten.
_seen: dict[int, Seen] = {}
_MOST_SEEN = 4_096


class Sight:
    """One tool call as one observer sees it."""

    __slots__ = ("_before", "_id", "_opened", "_pair")

    def __init__(
        self, opened: OpenCall | None, pair: Pair | None, call_id: int, before: int | Pair = 0
    ) -> None:
        self._opened = opened
        self._pair = pair
        self._id = call_id
        # What was current when it began: its parent, but for one that a framework has named.
        self._before = before

    @property
    def id(self) -> str | None:
        """The id of the call, also when somebody else records it; None when nobody does."""
        return hex_id(self._id) if self._id else None

    def describe(self, params: Mapping[str, Any]) -> None:
        """Give parameters that were not known when the call began."""
        if self._opened is not None:
            self._opened.describe(params)

    def annotate(self, **metadata: Any) -> None:
        """Add to the call's metadata, which optimization mode keeps; None is left out."""
        known = {key: value for key, value in metadata.items() if value is not None}
        if known and self._opened is not None:
            self._opened.annotate(known)
        elif known:
            note_in_detail(self._id, known)

    def backdate(self, elapsed_ns: int) -> None:
        """Let the call have begun so long ago, for a hook that tells of it afterwards."""
        # Where there is no start, none is made up.
        if self._opened is not None and self._opened.start_ns:
            self._opened.start_ns -= max(0, elapsed_ns)

    def end(self, error: BaseException | str | None = None) -> None:
        """
        End the call, with *error* or a text that opens with its class; only the first time.

        An interruption in the middle is passed on when the call has ended; a failure of ours is
        not.
        """
        # One step: whoever ends it in another thread finds nothing to end.
        pair, self._pair = self._pair, None
        if pair is None:
            return
        opened = self._opened
        try:
            if opened is not None:
                known = self._known_by_name(error) if isinstance(error, BaseException) else error
                opened.end(known)
        except BaseException as struck:
            # Struck before or in its end.
            if opened is not None:
                opened.end(error)
            if is_programs(struck):
                raise
        finally:
            pair.is_open = False
            try:
                _leave(pair, self._before)
            except MemoryError:
                # Once more, as it would stay current for good.
                _leave(pair, self._before)

    def _known_by_name(self, error: BaseException) -> BaseException | str:
        """*error*, or a text where a framework's own class tells more than what it inherits."""
        name = type(error).__name__
        if name in _RETRIES:
            self.annotate(outcome="retry")
        if status_for(error) != Outcome.ERROR or status_named(name) == Outcome.ERROR:
            return error
        return f"{name}: {error_text(error)}"


def _leave(pair: Pair, before: int | Pair) -> None:
    if current_call.get() is pair and not is_collecting():
        current_call.set(outermost_open(before))


# Control flow: the framework asks for the call to be made again.
_RETRIES = frozenset({"ModelRetry", "Retry", "ToolRetryError"})
_NOT_RECORDED = Sight(None, None, 0)


class Observer:
    """One framework's view of calls; *name* is what users call the framework."""

    def __init__(self, name: str, source: str = "") -> None:
        """An observer of that *name*; *source* is what metadata calls it, when it has several."""
        self.name = name
        self.source = source or name
        self._has_told = False

    def begin(
        self,
        tool: str,
        params: Any,
        *,
        parent: str | None = None,
        beneath: Sight | None = None,
        key: object = None,
    ) -> Sight:
        """
        Begin a call of *tool* and make it current, or recognise one that is seen already.

        Its parent is the call of id *parent*, for a framework that has carried it here; else the
        current call; else the call *beneath* which the framework says that it is. *key* is equal
        for several sights of one call that this observer may have. What fails of ours costs the
        record, and is counted.
        """
        opened: OpenCall | None = None
        pair: Pair | None = None
        before: int | Pair = 0
        try:
            found = tool_named(tool)
            if found.bound is None:
                return _NOT_RECORDED
            tool = found.name
            before = current_call.get()
            outer = parent_in(parent) if parent else outermost_open(before)
            if not outer and beneath is not None and beneath._pair is not None:
                outer = outermost_open(beneath._pair)
            if self._has_seen(outer, tool, key):
                return Sight(None, None, parent_of(outer))
            opened = OpenCall(found, named_callee(found))
            opened.outer = outer
            opened.annotate({"source": self.source})
            if not opened.begin((), params if isinstance(params, Mapping) else {"input": params}):
                return _NOT_RECORDED
            pair = seen = Seen(opened.call_id, outer, tool)
            seen.is_seen_by(self.name, tool, key)
            # Made here, since a return is no longer within the try.
            sight = Sight(opened, pair, opened.call_id, before)
            if not is_collecting():
                current_call.set(pair)
        except BaseException as error:
            # An interruption is passed on; what fails of ours is not.
            is_ours = not is_programs(error)
            if is_ours and isinstance(error, Exception):
                _forgo(opened, error)
            # Whoever asked gets no sight of it, so nobody else would end it.
            if opened is not None and opened.call_id:
                Sight(opened, pair or Pair(opened.call_id, opened.outer), 0, before).end(error)
            if not is_ours:
                raise
            return _NOT_RECORDED
        return sight

    def join(self, call_id: str, tool: str, *observers: str) -> Sight:
        """Run beneath a call of *tool* that *observers* in another task or process record."""
        before = current_call.get()
        pair = Seen(parse_id(call_id), before, tool, self.name, *observers)
        current_call.set(pair)
        return Sight(None, pair, pair.call_id, before)

    async def watch(
        self,
        sight: Sight | None,
        reason: Callable[[Any], BaseException | str | None],
        function: Callable[P, Awaitable[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """
        What *function* returns or raises; *sight* ends with it.

        *reason* turns a result into the error that it stands for, or None, and an exception into
        the one that is to be recorded.
        """
        has_returned = False
        try:
            result = await function(*args, **kwargs)
            has_returned = True
            self._end(sight, result, reason)
        except BaseException as error:
            # Noted and passed on, whatever it is; but for what has failed of ours.
            is_ours = has_returned and not is_programs(error)
            try:
                self._end(sight, result if is_ours else error, reason)
            except BaseException as struck:
                # Struck again, or before the sight had ended.
                if sight is not None:
                    sight.end(None if is_ours else error)
                if is_programs(struck):
                    raise
            if not is_ours:
                raise
        return result

    def guard(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """What *function* returns; None when what it looked at was not as expected."""
        try:
            return function(*args, **kwargs)
        except Exception as error:
            # What a framework hands over is foreign.
            if is_handlers(error):
                raise
            worker.faults.count(Fault.INTERNAL)
            if not self._has_told:
                self._has_told = True
                tell(f"{self.name}: a call was not understood: {type(error).__name__}: {error}")
            return None

    def _end(self, sight: Sight | None, outcome: Any, reason: Callable[[Any], Any]) -> None:
        if sight is not None:
            # Without a reason that is understood, an exception is its own.
            found = self.guard(reason, outcome)
            sight.end(found or (outcome if isinstance(outcome, BaseException) else None))

    def _has_seen(self, outer: int | Pair, tool: str, key: object) -> bool:
        if isinstance(outer, Seen):
            return outer.is_seen_by(self.name, tool, key)
        call_id = parent_of(outer)
        if not call_id or not worker.rows.is_open(call_id, tool_named(tool).callees.values()):
            return False
        seen = _seen.get(call_id)
        if seen is None:
            seen = _seen[call_id] = Seen(call_id, 0, tool, TRACKED)
            if len(_seen) > _MOST_SEEN:
                _seen.pop(next(iter(_seen)), None)
        return seen.is_seen_by(self.name, tool, key)


def _forgo(opened: OpenCall | None, error: Exception) -> None:
    """Count a call that can't be recorded, however far it has come."""
    if opened is not None:
        opened.forgo(error)
    else:
        worker.faults.note(error)
        worker.losses.count(Loss.NO_ROW, is_refused=True)


def named_params(
    function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Arguments under the names that *function* gives them."""
    if not args:
        return kwargs
    names, rest, _ = positional_names(function)
    found = dict(zip(names, args, strict=False))
    if len(args) > len(names):
        found[rest or "args"] = args[len(names) :]
    return {**found, **kwargs}


def shared_call(call_id: str | None, elsewhere: str | None = None) -> str | None:
    """
    *call_id* as a text for another process, which `foreign_call` reads; None outside a call.

    *elsewhere* is its ``traceparent``, for a process that may be on another machine.
    """
    session = worker.session
    if not call_id or session is None:
        return None
    text = f"{session.token.decode()}:{call_id}"
    return f"{text}:{elsewhere}" if elsewhere else text


def foreign_call(text: object) -> str | None:
    """
    What a text of `shared_call` names, as a call's parent.

    In the same session the call itself; in another one its span, where its ``traceparent`` is told.
    """
    if not isinstance(text, str) or not worker.start() or worker.session is None:
        return None
    token, _, named = text.partition(":")
    call_id, _, elsewhere = named.partition(":")
    if token == worker.session.token.decode():
        return call_id if parse_id(call_id) else None
    return mentioned(elsewhere) if elsewhere else None


def taken_up(text: object) -> str | None:
    """
    The id of the span that *text*, a message's ``traceparent``, names, as a call's parent.

    None where it names none, and where a call is current: that is the parent.
    """
    return None if parent_of(current_call.get()) else mentioned(text)
