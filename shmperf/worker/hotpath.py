"""
A call of a plain function: the hot path, written out by hand.

A call through it costs half of a quick call (`quickcall`), by which blocks and calls in detail go,
and a quarter of one through `OpenCall`, by which goes what is rare. Its order is the protocol's:

    read the tool's tuple → compare the session word → capture parameters → take a row
    → start: write the row, its id last → call → end: take a position and store, one step
    → restore the context → free the row

The whole of it from the row's id on stands inside one ``try``, which costs nothing while nothing
is raised. What an interruption leaves undone `finish` takes up; the three marks it goes by
(position, row, end) are set where no signal handler can come between the mark and the deed.

Of a sampled tool most calls go another way, shorter: no row, no slot, no parameters, and a clock
only where slow calls are kept. Where such a call ends it is counted, one step too. A call that is
chosen to be recorded goes through a second wrapper, whose tuple is the tool's own, so that the way
of tools that are not sampled is not a step longer.

What fails in here of our own is not the tool's affair: a call that was to begin is made all the
same, a result is returned, the function's own exception is passed on as it is, without a context
of ours. So the function is never called from within a handler of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import CellType, CoroutineType
from typing import Any

from shmperf.compiled.chosen import hot
from shmperf.shm.fence import PUBLISHED
from shmperf.shm.inflight import CALLEE, GENERATION_STEP, PARENT, START
from shmperf.shm.record import BODY_BYTES, NAMED, PRUNED, Callee, kind_of
from shmperf.shm.remote import FIRST_REMOTE
from shmperf.shm.segment import Loss
from shmperf.stdlib import get_ident, perf_counter_ns

from .byvalue import ENCODER, Number, boost, boost_sent, cell_of, fast_of
from .capture import PLAIN_TYPES, SHORT, Cut, short_body
from .context import TRACKED, Pair, Seen, current_call, next_unrecorded, parent_of
from .failures import is_handlers, is_programs
from .gcwatch import collecting, is_collecting
from .opencall import OpenCall, new_call
from .process import Route, Tool, worker
from .sampler import Recorder, Sampler
from .signature import Chosen, positional_names
from .slots import refilled, suspect_hole
from .spans import spans
from .tool import NO_ROOM, NOT_RECORDED, PLAINLY

__all__ = [
    "RAISED",
    "RETURNED",
    "Wrapped",
    "detour",
    "encode_plain",
    "enter_anew",
    "finish",
    "handed_on",
    "has_forked_in",
    "is_seen",
    "is_vain",
    "leave_off",
    "store_slot_at",
    "take_up",
    "track_function",
    "track_plain",
    "unfinished",
]

encode_plain = ENCODER.encode
store_slot_at = PUBLISHED.pack_into

# In place of a call's end: its function has raised, or has returned and the clock has failed.
RAISED, RETURNED = -1, -2
# How far a call without a record has come, too; here its function is not called so far.
_NOT_CALLED = -3


class Wrapped:
    """A function, the tool that its calls are recorded under, and how to name its parameters."""

    __slots__ = (
        *("boosted", "callee", "cell", "chosen", "fast", "function", "goes_on"),
        *("hand_out", "is_chosen", "params", "probe", "quick", "sent", "skip", "tool", "twin"),
    )

    def __init__(self, function: Callable[..., Any], tool: Tool, params: Any) -> None:
        self.function = function
        self.tool = tool
        self.params = params
        # Of the names in `params`: where they stand; read at the first call.
        self.chosen: Chosen | None = None
        names, rest, self.skip = positional_names(function)
        self.callee = worker.callee(tool, Callee(tool.name, names, rest))
        # Where the hot path has its tool; a tool that sends each call to `detour`; and what makes
        # of an open call and a coroutine one with which the call ends.
        self.cell: CellType | None = None
        self.probe = Tool(tool.name)
        self.goes_on = False
        self.hand_out: Callable[[OpenCall, Any], Any] | None = None
        # What makes a quick call of this and arguments; None where there is no memory for it.
        self.quick: Callable[..., Any] | None = None
        # The compiled path's share of its wrapper; the wrapper, if it is entered in C; and one that
        # was so where it was sent from.
        self.fast: Any = None
        self.boosted: Callable[..., Any] | None = None
        self.sent: Callable[..., Any] | None = None
        # Of a sampled tool: what records a call that is chosen; and whether this is that.
        self.twin: Callable[..., Any] | None = None
        self.is_chosen = False

    def __reduce__(self) -> Any:
        # The wrapper, which holds this, is told of last: by then it is there.
        return Wrapped, (self.function, self.tool, self.params), self.boosted

    def __setstate__(self, sent: Callable[..., Any]) -> None:
        self.sent = sent

    def open(
        self,
        opened: OpenCall,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        route: Route | None = None,
        *,
        timed_cpu: bool = True,
    ) -> None:
        """Begin the call *opened* with these arguments and make it current, if it is recorded."""
        if self.begin(opened, args, kwargs, route, timed_cpu=timed_cpu):
            opened.enter()

    def begin(
        self,
        opened: OpenCall,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        route: Route | None = None,
        *,
        timed_cpu: bool = False,
    ) -> bool:
        """Begin the call *opened* with the arguments that are recorded; False when it is not."""
        args, kwargs = self.recorded(args, kwargs)
        return opened.begin(args, kwargs, route, timed_cpu=timed_cpu)

    def recorded(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """What is recorded of these arguments."""
        try:
            if self.params is None:
                return (args[1:] if self.skip else args), kwargs
            return (), {} if self.params is False else self._chosen(args, kwargs)
        except Exception as error:
            # The user's own function, or arguments that don't fit.
            if is_handlers(error):
                raise
            return (), {}

    def _chosen(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        if callable(self.params):
            return dict(self.params(*args, **kwargs))
        chosen = self.chosen
        if chosen is None:
            chosen = self.chosen = Chosen(self.function, self.params)
        return chosen.of(args, kwargs)


def track_function(wrapped: Wrapped) -> Callable[..., Any]:  # noqa: C901, PLR0915  see above
    function, tool, skip = wrapped.function, wrapped.tool, wrapped.skip
    callee = Number(wrapped.callee, wrapped)
    plain_meta = Number(callee << 16, wrapped)
    step = GENERATION_STEP
    row_start, row_parent, row_callee = START, PARENT, CALLEE
    store, clock, encode, current = store_slot_at, perf_counter_ns, encode_plain, current_call
    simple, short, cut, most = PLAIN_TYPES, SHORT, Cut, BODY_BYTES
    named, pruned = NAMED << 8, PRUNED << 8
    left_undone, thread, in_collection = unfinished, get_ident, collecting
    spanned = spans
    not_called, raised, returned = _NOT_CALLED, RAISED, RETURNED
    # What is current from there on is no call, and stays so inside one that has no record.
    first_remote = FIRST_REMOTE

    def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: C901, PLR0911, PLR0912, PLR0915  see above
        bound = tool.bound
        if bound is None:
            sampled = tool.sampled
            if sampled is None:
                return function(*args, **kwargs)
            word, session, counts, place, numbers, slow, sampler = sampled
            outer: Any = current.get()
            try:
                is_rare = session[0] != word or in_collection or (outer and type(outer) is not int)
            except MemoryError:
                # None for the word's number.
                is_rare = True
            if is_rare:
                return detour(wrapped, args, kwargs)
            for _ in sampler.choice:
                break
            else:
                return _chosen(wrapped, sampler)(*args, **kwargs)
            stage, start = not_called, 0
            try:
                if outer and outer < first_remote:
                    current.set(0)
                if slow:
                    start = clock()
                stage = raised
                result = function(*args, **kwargs)
                stage = returned
                if slow and clock() - start > slow:
                    left = left_undone.setdefault(thread(), [])
                    came, stage = (returned, outer, start), 0
                    # point below: left-slow
                    left.append([None, None, wrapped, sampled, came, (args, kwargs)])
                    finish(left, outer)
                    return result
                if sampler.sampled is sampled or sampler.ended is numbers:
                    for number in numbers:  # point: count-take
                        counts[place] = number
                        break  # point: count-stored
                stage = 0
                if outer:
                    current.set(outer)
                return result
            except BaseException as error:
                # As below; where there is no room for a frame, it is counted all the same.
                failed = stage == raised
                passes = failed or type(error) is not RecursionError
                try:
                    left = left_undone.setdefault(thread(), [])
                    if stage < 0:
                        came, stage = (stage, outer, start), -stage
                        # point below: left-uncounted
                        left.append([None, error, wrapped, sampled, came, (args, kwargs)])
                    passes = failed or is_programs(error)
                    finish(left, outer)
                except BaseException as again:
                    # Struck again: it counts, whether or not it is listed with its error.
                    if stage in (raised, returned) and sampler.ended is numbers:
                        for number in numbers:
                            counts[place] = number
                            break
                    if type(again) is not RecursionError and is_programs(again):
                        raise
                if passes:
                    raise
            return function(*args, **kwargs) if abs(stage) == -not_called else result
        body: bytes | None = b""
        # Flags and length, the low bits of the meta word.
        low_meta = 0
        try:
            # Until the interpreter knows what it unpacks, that takes memory.
            word, session, ready, words, buffer, positions, shift = bound
            given = args[1:] if skip else args
            if session[0] != word or in_collection:
                body = None
            elif kwargs:
                body = short_body(given, kwargs)
                if body is not None:
                    low_meta = len(body) | (named if given else 0)
                    low_meta |= pruned if type(body) is cut else 0
            elif given:
                for value in given:
                    kind = type(value)
                    if kind in simple or (kind is str and len(value) <= short):
                        continue
                    body = short_body(given, kwargs)
                    if body is not None:
                        low_meta = len(body) | (pruned if type(body) is cut else 0)
                    break
                else:
                    body = encode(given)
                    low_meta = len(body)
                    if low_meta > most:
                        body = None
        except RecursionError:
            body = None
        except Exception as error:
            # An integer beyond 64 bits, or a failure of ours.
            if is_programs(error):
                raise
            body = None
        if body is None:
            return detour(wrapped, args, kwargs)
        try:
            row = ready.pop()  # point: row-take
        except IndexError:
            row = None
        if row is None:
            return detour(wrapped, args, kwargs)
        entry: Any = None
        call_id = position = end = start = 0
        outer = current.get()
        parent: Any = outer
        try:
            start = clock()
            words[row + row_start] = start  # point: row-start
            try:
                # Of a root: 0, or what the memory refuses where OpenTelemetry may have a span.
                words[row + row_parent] = parent or spanned.root
            except TypeError:
                if type(outer) is Seen and outer.is_seen_by(TRACKED, tool.name):
                    # Made below, where no handler of ours is its exceptions' context.
                    free, row = row, 0
                    ready.append(free)
                    raise
                words[row + row_parent] = parent = parent_of(outer) or spanned.above()
            words[row + row_callee] = callee  # point: row-callee
            call_id = words[row] + step  # point: row-next-id
            words[row] = call_id  # point: row-id
            current.set(call_id)  # point: row-begun
            try:
                result = function(*args, **kwargs)
            except BaseException:
                # Its own, whatever it is: passed on.
                end = RAISED
                raise
            try:
                end = clock()  # point: call-returned
            except BaseException:
                # Taken up below: the function has returned, and is not called again.
                end = RETURNED
                raise
            if tool.bound is not bound:
                # Refilled meanwhile: another grant, unless it is no more of this process's,
                # or its end is told to others.
                bound = tool.bound
                if bound is None or bound[2] is not ready or has_forked_in(call_id):
                    left = left_undone.setdefault(thread(), [])
                    marks = row, call_id, parent, start, end, 0, 0
                    entry = [None, None, wrapped, ready, marks, (body, low_meta)]
                    # point below: left-rebound
                    left.append(entry)
                    row = 0
                    entry = None
                    finish(left, outer)
                    return result
                positions, shift = bound[5:]
            meta = plain_meta | low_meta
            for position in positions:  # point: slot-take
                # point below: slot-store
                store(buffer, position + shift, call_id, parent, start, end, meta, body, position)
                break  # point: slot-stored
            else:
                left = left_undone.setdefault(thread(), [])
                marks = row, call_id, parent, start, end, 0, 0
                entry = [None, None, wrapped, ready, marks, (body, low_meta)]
                # point below: left-exhausted
                left.append(entry)
                row = 0
                entry = None
                finish(left, outer)
                return result
            current.set(outer)  # point: context-restore
            free, row = row, 0  # point: row-give-up
            ready.append(free)  # point: row-free
            return result  # point: call-done
        except BaseException as error:
            # The function's own, an interruption of the program's, or a failure of ours. Where
            # there is no room for a frame the question can't be asked.
            passes = end == RAISED or type(error) is not RecursionError
            try:
                left = left_undone.setdefault(thread(), [])
                if row:
                    marks = row, call_id, parent, start, end, position, shift
                    entry = entry or [None, error, wrapped, ready, marks, (body, low_meta)]
                    # point below: left-raised
                    left.append(entry)
                    row = 0
                    entry = None
                passes = end == RAISED or is_programs(error)
                finish(left, outer)
            except BaseException as again:
                # Struck again within microseconds; a third time leaves it to the next call.
                try:
                    left = left_undone.setdefault(thread(), [])
                    if row:
                        marks = row, call_id, parent, start, end, position, shift
                        entry = entry or [None, error, wrapped, ready, marks, (body, low_meta)]
                        left.append(entry)
                        row = 0
                        entry = None
                    finish(left, outer)
                except (RecursionError, MemoryError):
                    pass
                if type(again) is not RecursionError and is_programs(again):
                    raise
            if passes:
                raise
        return result if end else function(*args, **kwargs)

    # The first call looks at what the function returns.
    wrapped.cell = cell_of(wrapper, "tool")
    tool = wrapped.probe
    return wrapper


def track_plain(wrapped: Wrapped) -> Callable[..., Any]:
    """What records the calls of a plain function, compiled where that path is there."""
    wrapper = track_function(wrapped)
    if hot is None:
        return wrapper
    fast = wrapped.fast = fast_of(wrapper, wrapped)
    if sys.version_info >= (3, 12):
        boost(wrapper, wrapped)
        return wrapper

    def entrance(*args: Any, **kwargs: Any) -> Any:
        return fast(*args, **kwargs)

    boost(entrance, wrapped)
    return entrance


# By thread: what an interruption left undone. A dict's and a list's own operations are atomic, and
# listing a call takes no frame: there may be no room for one. An entry is the call, or None and
# behind the error what the hot path knows of it: wrapper, ready rows, how far it came, parameters.
# It stays listed until it is finished, whatever strikes meanwhile; struck just as it is listed, it
# is so twice, and ends once. Not of a subclass of dict: where
# there is no room for a frame, CPython 3.11 may refuse to call its methods.
unfinished: dict[int, list[list[Any]]] = {}


def _resumed(entry: list[Any]) -> OpenCall:
    """The call of an entry that the hot path, or a quick call, listed."""
    if entry[0] is not None:
        opened: OpenCall = entry[0].call()
        # One that has been stored was interrupted later: that is not its error.
        entry[1] = None if opened.end_ns else entry[1]
        return opened
    _, error, wrapped, ready, marks, captured = entry
    if type(ready) is tuple:
        return _resumed_uncounted(entry)
    end = marks[4]
    opened = OpenCall.resumed(
        wrapped.tool, wrapped.callee, ready, (*marks[:4], max(end, 0), *marks[5:])
    )
    opened.body, low_meta = captured
    opened.flags = kind_of(low_meta)
    if end != RAISED and error is not None:
        if end:
            # The function had returned: what struck later is not its error.
            entry[1] = None
            suspect_hole(wrapped.tool)
        elif not is_programs(error):
            # It is called all the same, and has no record.
            entry[1] = None
            opened.forgo(error)
    return opened


def _resumed_uncounted(entry: list[Any]) -> OpenCall:
    """The call of an entry that the hot path listed for a call without a record."""
    _, _, wrapped, sampled, (stage, outer, start), given = entry
    slow, sampler = sampled[-2:]
    opened = OpenCall(wrapped.tool, wrapped.callee)
    opened.outer, opened.start_ns, opened.slow_ns = outer, start, slow
    opened.sampler, opened.given, opened.call_id = sampler, given, next_unrecorded()
    is_left_to_parent = sampler.ended is not sampled[4]
    if is_left_to_parent or stage == _NOT_CALLED:
        # Begun in another process; or not yet.
        opened.call_id = 0
    elif stage != RAISED:
        entry[1] = None
    return opened


def _chosen(wrapped: Wrapped, sampler: Sampler) -> Callable[..., Any]:
    """What records the call that begins now: the next one is chosen, too."""
    try:
        sampler.draw()
        if wrapped.twin is None:
            inner = Wrapped(wrapped.function, wrapped.tool, wrapped.params)
            inner.is_chosen, inner.hand_out = True, wrapped.hand_out
            twin = track_plain(inner)
            if inner.cell is not None:
                inner.cell.cell_contents = sampler.recorder
            wrapped.twin = twin
        return wrapped.twin
    except Exception as error:
        # Ours is no reason for a tool to fail.
        if is_programs(error):
            raise
        worker.faults.note(error)
        worker.losses.count(Loss.NO_ROW, is_refused=True)
        return wrapped.function


def finish(left: list[list[Any]], outer: int | Pair) -> None:
    """Finish what is *left* in this thread and restore the context; raises nothing of ours."""
    try:
        for entry in left[:]:
            opened = entry[0]
            if not isinstance(opened, OpenCall):
                made = _resumed(entry)
                # A signal handler's own calls come by here, too; nothing gets in between these.
                if entry[0] is opened:
                    entry[0] = made
                opened = entry[0]
            if opened.is_finishing:
                continue
            if worker.heritage is not None:
                outer = opened.restored(outer)
            opened.is_finishing = True
            try:
                if opened.call_id:
                    opened.end(entry[1])
                else:
                    opened.free_row()
                left.remove(entry)  # point: left-finished
                _enter_if_slow(entry)
            except ValueError as error:
                # A signal handler's own call has finished it meanwhile.
                if is_programs(error):
                    raise
            finally:
                opened.is_finishing = False
    finally:
        if not is_collecting():
            current_call.set(outer)


def has_forked_in(call_id: int) -> bool:
    """True when this process has forked in that call: its end is told where its children look."""
    return call_id in worker.forked_in


def take_up(opened: OpenCall, error: BaseException | None, struck: BaseException) -> bool:
    """
    End *opened* all the same, when what should have ended it was *struck* in its turn.

    True when that is the program's doing, which is to be passed on.
    """
    left = unfinished.setdefault(get_ident(), [])
    # Who closes a generator has had enough, which is no error.
    its_own = None if opened.end_ns or issubclass(type(error), GeneratorExit) else error
    left.append([opened, its_own])
    finish(left, opened.outer_now())
    return is_programs(struck)


def is_vain(opened: OpenCall, struck: BaseException) -> bool:
    """
    End *opened*, which was *struck* as it was to begin, or count it as lost if it never did.

    True when what has struck is to be passed on.
    """
    if take_up(opened, struck, struck):
        return True
    if not opened.call_id:
        worker.losses.count(Loss.NO_ROW, is_refused=True)
    return False


def is_seen(tool: Tool, observer: str = TRACKED) -> bool:
    """True when the call that begins now is one that another observer has begun already."""
    try:
        outer = current_call.get()
        return type(outer) is Seen and outer.is_seen_by(observer, tool.name)
    except Exception as error:
        # A failure of ours costs no more than a call that is recorded twice.
        if is_programs(error):
            raise
        return False


def _route_of(wrapped: Wrapped) -> Route:
    """What becomes of a call that begins now."""
    if wrapped.sent is not None:
        boost_sent(wrapped)
    tool, session = wrapped.tool, worker.session
    route = tool.route
    # Of a tool that is not recorded, limit 0, each call comes by here; and of others in detail.
    is_settled = session is not None and tool.word == session.word[0]
    if not is_settled or route is NO_ROOM:
        route = worker.route(tool)
    return PLAINLY if route.is_sampled and wrapped.is_chosen else route


def detour(wrapped: Wrapped, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a plain function by the long way: first calls, detail, long parameters."""
    try:
        route = _route_of(wrapped)
    except MemoryError:
        # None for its frame.
        route = NOT_RECORDED
    if not route.is_recorded or is_seen(wrapped.tool):
        leave_off(wrapped)
        return wrapped.function(*args, **kwargs)
    quick = None
    if wrapped.quick is not None and (route.in_detail or wrapped.params is not None):
        quick = wrapped.quick(wrapped, args, kwargs)
    opened = new_call(wrapped.tool, wrapped.callee) if quick is None else quick
    try:
        if quick is None:
            wrapped.open(opened, args, kwargs, route)
        else:
            quick.open(in_order=True)
        # By this name a debugger finds the call on its thread's stack, on the hot path as here; it
        # is not made anew, which takes memory, as a method of an imported name does.
        current = current_call
        call_id = opened.call_id if quick is None else current.get()  # noqa: F841  as said
        result = wrapped.function(*args, **kwargs)
        # A coroutine that the function hands out: its call goes on there, and it keeps coming by
        # here; on the hot path a look at every result would be the price. All others leave.
        if type(result) is CoroutineType and wrapped.hand_out is not None:
            return handed_on(wrapped, opened if quick is None else quick, result)
        if quick is None:
            opened.close()
        else:
            quick.close(None, None, None)
        enter_anew(wrapped)
        return result
    except BaseException as error:
        # Noted and passed on.
        try:
            left = unfinished.setdefault(get_ident(), [])
            left.append([opened, None if quick is None and opened.end_ns else error])
            finish(left, opened.outer_now())
            if not wrapped.goes_on:
                enter_anew(wrapped)
        except BaseException as again:
            # Struck again. Without room for a frame it stays listed, for a later call.
            if type(again) is not RecursionError and take_up(
                opened if quick is None else quick.call(), error, again
            ):
                raise
        raise


def handed_on(wrapped: Wrapped, call: Any, coroutine: Any) -> Any:
    """The *coroutine* that a function has handed out, with whose end its open *call* ends."""
    wrapped.goes_on = True
    enter_anew(wrapped)
    hand_out: Any = wrapped.hand_out
    return hand_out(call if isinstance(call, OpenCall) else call.call(), coroutine)


def _enter_if_slow(entry: list[Any]) -> None:
    """Of a call that the hot path has listed: the next ones show their parameters, if slow."""
    if len(entry) > 2 and entry[2].tool.is_shown:
        enter_anew(entry[2])


def leave_off(wrapped: Wrapped) -> None:
    """Where tracking is off, the hot path sees that by itself."""
    if wrapped.tool.bound is None and wrapped.cell is not None:
        wrapped.cell.cell_contents = wrapped.tool


def enter_anew(wrapped: Wrapped) -> None:
    """Let a wrapper look where it belongs from its next call on."""
    tool, sampler = wrapped.tool, wrapped.tool.sampler
    found: Tool | Sampler | Recorder = tool
    if sampler is not None and tool.route.is_sampled:
        found = sampler.recorder if wrapped.is_chosen else sampler
    elif tool.is_shown:
        # What is slow shows its parameters while it runs, which the hot path has no time for.
        found = wrapped.probe
    if wrapped.cell is not None:
        wrapped.cell.cell_contents = wrapped.probe if wrapped.goes_on else found


def _lost(row: int, call_id: int) -> None:
    """Count a compiled call that there was no memory for."""
    worker.losses.count_row(Loss.INTERNAL, row, call_id)


if hot is not None:
    hot.adopt(
        Tool,
        Sampler,
        Wrapped,
        Seen,
        current=current_call,
        unfinished=unfinished,
        collecting=collecting,
        finish=finish,
        is_programs=is_programs,
        spans=spans,
        parent_of=parent_of,
        detour=detour,
        chosen=_chosen,
        lost=_lost,
        suspect_hole=suspect_hole,
        refill=refilled,
        forked_in=worker.forked_in,
    )
