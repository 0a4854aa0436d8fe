"""
A call with short parameters, begun and ended in one step each.

Blocks, pairs, generators and calls through interceptors are made of it, and those of functions in
detail or with chosen parameters.
It does what `OpenCall` does step by step, for a call whose way is plain: the tool's tuple of this
mode fits the session word, the record fits a slot, a row and a position are ready. Where that is
not so, the call begins as an `OpenCall`, or becomes one and ends as that.

The two steps are written out as the hot path is, and are a context manager's methods themselves:
each call of another function between would cost a block a twentieth.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from shmperf.compiled.chosen import hot
from shmperf.shm.fence import PUBLISHED
from shmperf.shm.inflight import CALLEE, GENERATION_STEP, IN_DETAIL, PARENT, START
from shmperf.shm.record import BODY_BYTES, DETAIL, NAMED, PRUNED, kind_of
from shmperf.stdlib import perf_counter_ns, thread_time_ns

from .boards import SLOW_NS
from .callbody import detailed_body, read_memory
from .capture import Cut, short_body
from .context import Pair, current_call, parent_of
from .failures import is_programs
from .frames import ends_in_order, placed
from .gcwatch import collecting
from .hotpath import enter_anew, handed_on, is_vain, take_up
from .opencall import OpenCall, annotated, new_call
from .process import Tool, named_callee, tools
from .slots import suspect_hole
from .spans import spans

__all__ = ["QuickCall", "WrittenCall"]

_store = PUBLISHED.pack_into
_DETAIL, _NAMED, _PRUNED = DETAIL << 8, NAMED << 8, PRUNED << 8


class _Kept:
    """What is kept of a call between its two steps."""

    __slots__ = (
        *("_args", "_around", "_body", "_bound", "_call_id", "_callee", "_cpu_end_ns", "_cpu_ns"),
        *(
            "_end_ns",
            "_kwargs",
            "_meta",
            "_metadata",
            "_opened",
            "_outer",
            "_parent",
            "_position",
            "_row",
        ),
        *("_start_ns", "_tool"),
    )


if TYPE_CHECKING or hot is None:  # noqa: SIM108  a type checker knows one of them
    _Base = _Kept
else:
    # It has the two steps, too.
    _Base = hot.Steps


class QuickCall(_Base):
    """
    A call of ``_tool``, and all that its end needs.

    ``_call_id`` is 0 until it has begun, ``_row`` before that and once it is free; ``_opened`` is
    there where it goes the long way. Whoever derives from it sets these, and what is called with.
    Only in detail there are ``_cpu_ns``, at its beginning and its end, and ``_metadata``.
    """

    __slots__ = ()

    # It begins and ends in one thread, and awaits nothing.
    _times_cpu = True

    _args: tuple[Any, ...]
    _body: bytes
    _bound: tuple[Any, ...]
    _call_id: int
    _callee: int
    _cpu_end_ns: int
    _cpu_ns: int
    _end_ns: int
    _kwargs: Mapping[str, Any]
    _meta: int
    _metadata: dict[str, Any] | None
    _opened: OpenCall | None
    _outer: int | Pair
    _parent: int
    _position: int
    _row: int
    _start_ns: int
    _tool: Tool

    def _enter(self, in_order: bool = False) -> Self:  # noqa: C901, PLR0912, PLR0915  see above
        """
        Begin the call, if it is recorded, and make it current.

        What is not known to end *in_order* is looked for where it is entered.
        """
        tool = self._tool
        bound = tool.bound
        if bound is None:
            return self
        row = 0
        try:
            if not in_order:
                frame = sys._getframe(1)
                if (id(frame.f_code), frame.f_lasti) not in placed:
                    return self._enter_in(frame)
            word, session, ready, words, _, _, _ = bound
            shown = detail = 0
            if session[0] != word:
                bound, shown, detail = tool.detailed, IN_DETAIL, _DETAIL
            is_rare = collecting or tool.is_shown or self._row or self._opened
            if is_rare or bound is None or session[0] != bound[0]:
                return self._enter_anyhow(in_order=True)
            body = b""
            callee = self._callee = self._callee or named_callee(tool)
            meta = callee << 16 | detail
            if self._kwargs or self._args:
                short = short_body(self._args, self._kwargs)
                if short is None or (detail and type(short) is Cut):
                    return self._enter_anyhow(in_order=True)
                body = short
                meta |= len(body) | (_NAMED if self._args and self._kwargs else 0)
                meta |= _PRUNED if type(body) is Cut else 0
            self._call_id = self._position = self._end_ns = 0
            self._bound, self._body, self._meta = bound, body, meta
            try:
                row = ready.pop()
            except IndexError:
                row = 0
            if not row:
                return self._enter_anyhow(in_order=True)
            outer = self._outer = current_call.get()
            parent = (outer if type(outer) is int else parent_of(outer)) or spans.root
            if parent is None:
                parent = spans.above()
            self._parent = parent
            if detail:
                self._begin_in_detail(words[row] + GENERATION_STEP)
            start = self._start_ns = perf_counter_ns()
            words[row + START] = start  # point: quick-start
            words[row + PARENT] = parent
            words[row + CALLEE] = callee | shown
            call_id = words[row] + GENERATION_STEP
            self._row, self._call_id = row, call_id  # point: quick-marks
            words[row] = call_id  # point: quick-id
            current_call.set(call_id)  # point: quick-begun
            return self
        except BaseException as struck:
            # It is never entered, so nobody else would end it.
            if self._row or self._opened:
                if self._is_vain(struck):
                    raise
                return self
            if row:
                annotated.pop(words[row] + GENERATION_STEP, None)
                free, row = row, 0
                ready.append(free)
            if is_programs(struck):
                raise
        return self._enter_anyhow(in_order=False)

    def _exit(self, kind: Any, error: Any, traceback: Any) -> None:  # noqa: ARG002, PLR0912  a block's end, and see above
        """Store the call, restore the context and free its row; nothing where it did not begin."""
        # Struck before this line, a block's end never comes: so it is with context managers.
        try:
            if error is None and self._row:
                end = self._end_ns = perf_counter_ns()  # point: quick-clock
                bound, tool, start = self._bound, self._tool, self._start_ns
                meta, body = self._meta, self._body
                fits = tool.bound is bound
                if not fits and tool.detailed is bound:
                    if self._cpu_ns >= 0:
                        self._cpu_end_ns = thread_time_ns()
                    times_ns = start, end, self._cpu_ns, self._cpu_end_ns
                    body = detailed_body(body, times_ns, None, self._metadata)
                    meta += len(body) - len(self._body)
                    fits = len(body) <= BODY_BYTES
                if fits:
                    buffer: Any
                    positions: Iterator[int]
                    _, _, ready, _, buffer, positions, shift = bound
                    call_id, parent = self._call_id, self._parent
                    # One line: nothing may come between taking a position and storing it.
                    for self._position in positions:
                        # point below: quick-store
                        _store(buffer, self._position + shift, call_id, parent, start, end, meta, body, self._position)  # fmt: skip  # noqa: E501
                        break  # point: quick-stored
                    else:
                        self._exit_anyhow(error)
                        return
                    if end - start >= SLOW_NS:
                        # The next one shows its parameters, for which this way has no time.
                        tool.is_shown = True
                    if tool.bound is not bound:
                        annotated.pop(call_id, None)
                    row, self._row = self._row, 0  # point: quick-row-give-up
                    ready.append(row)  # point: quick-row-free
                    now = current_call.get()
                    if now == call_id:
                        current_call.set(self._outer)
                    else:
                        self._leave(now)
                    return
            self._exit_anyhow(error)
        except BaseException as struck:
            # An interruption of the end: ended, and passed on.
            if not self._call_id and not self._opened:
                raise
            if take_up(self._call(), error, struck):
                raise

    def _begin_in_detail(self, call_id: int) -> None:
        self._metadata = None
        annotated[call_id] = self._note
        self._cpu_end_ns = -1
        self._cpu_ns = thread_time_ns() if self._times_cpu else -1

    def _note(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata, which optimization mode keeps."""
        if self._opened is not None:
            self._opened.annotate(metadata)
        elif self._row and kind_of(self._meta) & DETAIL:
            self._metadata = {**(self._metadata or {}), **metadata}

    def _enter_in(self, frame: FrameType) -> Self:
        """Begin the call, which is entered in a *frame* that nothing is known of so far."""
        if ends_in_order(frame, awaited=False):
            return self._enter(in_order=True)
        return self._enter_anyhow(in_order=False)

    def _enter_anyhow(self, *, in_order: bool) -> Self:
        """Begin the call the long way."""
        opened = self._opened = new_call(self._tool, self._callee or named_callee(self._tool))
        opened.open(self._args, self._kwargs, timed_cpu=False, in_order=in_order)
        return self

    def _is_vain(self, struck: BaseException) -> bool:
        """End the call, *struck* as it was to begin; true when that is to be passed on."""
        return is_vain(self._call(), struck)

    def _exit_late(self, error: Any) -> None:
        """End the call for which C has found no position."""
        try:
            self._exit_anyhow(error)
        except BaseException as struck:
            # An interruption of the end, or no memory: ended, and the program's is passed on.
            if take_up(self._call(), error, struck):
                raise

    def _exit_anyhow(self, error: Any) -> None:
        """End the call the long way, whichever way it has begun, with an exception or none."""
        if self._row or self._opened:
            self._call().close(error)

    def _leave(self, now: int | Pair) -> None:  # noqa: ARG002  for those who know better
        """Restore the context, in which *now* is current and not the call, which has ended."""
        self._resumed().leave()

    def _call(self) -> OpenCall:
        """The call, which goes the long way from here on, or has done so."""
        opened = self._opened
        if opened is None:
            opened = self._opened = self._resumed()
        return opened

    def _resumed(self) -> OpenCall:
        """The same call, as far as it has come, to be ended step by step."""
        times = self._start_ns, self._end_ns
        marks = self._row, self._call_id, self._parent, *times, self._position, self._bound[-1]
        if self._end_ns:
            # Struck in its end, if there was a position to take.
            suspect_hole(self._tool)
        opened = OpenCall.resumed(self._tool, self._callee, self._bound[2], marks)
        opened.outer = self._outer
        opened.body, opened.flags = self._body, kind_of(self._meta)
        if opened.flags & DETAIL:
            opened.cpu_ns, opened.cpu_end_ns = self._cpu_ns, self._cpu_end_ns
            opened.metadata = self._metadata
            if self._row:
                annotated[self._call_id] = opened.annotate
        self._row = 0
        return opened


if hot is not None:
    _pure = {"pure_enter": QuickCall._enter, "pure_exit": QuickCall._exit}
    _known = {"placed": placed, "tools": tools}
    _late = {"is_vain": QuickCall._is_vain, "exit_late": QuickCall._exit_late}
    _asked = {"read_memory": read_memory, "named_callee": named_callee}
    hot.adopt_steps(**_asked, **_known, **_pure, **_late)
    # The two in C turn to these for what is rare.
    for _name in ("_enter", "_exit"):
        setattr(QuickCall, _name, getattr(hot.Steps, _name))


class WrittenCall(QuickCall):
    """
    A call that a wrapper begins and ends, with what that wants of an `OpenCall`.

    ``call_id`` is its id, 0 when it did not begin.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        call_id: int
    else:
        # Read without a frame of ours, for which there may be no memory.
        call_id = _Base._call_id

    def __init__(
        self, tool: Tool, callee: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._tool, self._callee, self._args, self._kwargs = tool, callee, args, kwargs
        self._row = self._call_id = 0
        self._opened = None

    open = QuickCall._enter
    close = QuickCall._exit

    def call(self) -> OpenCall:
        """The same call, to be ended step by step."""
        if self._opened is None and not self._call_id:
            self._opened = new_call(self._tool, self._callee)
        return self._call()

    def outer_now(self) -> int | Pair:
        """What is current once the call has ended."""
        return self.call().outer_now()

    def _enter_anyhow(self, *, in_order: bool) -> Self:
        opened = self._opened = new_call(self._tool, self._callee)
        opened.open(self._args, self._kwargs, timed_cpu=self._times_cpu, in_order=in_order)
        self._call_id = opened.call_id
        return self


if hot is not None:
    hot.adopt_detail(WrittenCall, handed_on, enter_anew)
