"""
A call of normal mode with short parameters, begun and ended in one step each.

Blocks, pairs and calls through interceptors are made of it. It does what `OpenCall` does step by
step, for a call whose way is plain: the tool's tuple fits the session word, the parameters fit a
slot, a row and a position are ready. Where that is not so, the call begins as an `OpenCall`, or
becomes one and ends as that.

The two steps are written out as the hot path is, and are a context manager's methods themselves:
each call of another function between would cost a block a twentieth.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Self

from shmperf.shm.inflight import CALLEE, GENERATION_STEP, PARENT, START
from shmperf.shm.record import NAMED, PRUNED, SLOT, kind_of
from shmperf.stdlib import perf_counter_ns

from .boards import SLOW_NS
from .capture import Cut, short_body
from .context import Pair, current_call, parent_of
from .failures import is_programs
from .frames import ends_in_order, placed
from .gcwatch import collecting
from .hotpath import take_up
from .opencall import OpenCall, new_call
from .process import Tool, named_callee
from .slots import suspect_hole
from .spans import spans

__all__ = ["QuickCall"]

_store = SLOT.pack_into
_NAMED, _PRUNED = NAMED << 8, PRUNED << 8


class QuickCall:
    """
    A call of ``_tool``, and all that its end needs.

    ``_call_id`` is 0 until it has begun, ``_row`` before that and once it is free; ``_opened`` is
    there where it goes the long way. Whoever derives from it sets these, and what is called with.
    """

    __slots__ = (
        *("_args", "_body", "_bound", "_call_id", "_callee", "_end_ns", "_kwargs", "_meta"),
        *("_opened", "_outer", "_parent", "_position", "_row", "_start_ns", "_tool"),
    )

    _args: tuple[Any, ...]
    _body: bytes
    _bound: tuple[Any, ...]
    _call_id: int
    _callee: int
    _end_ns: int
    _kwargs: Mapping[str, Any]
    _meta: int
    _opened: OpenCall | None
    _outer: int | Pair
    _parent: int
    _position: int
    _row: int
    _start_ns: int
    _tool: Tool

    def _enter(self, in_order: bool = False) -> Self:  # noqa: C901, PLR0912  see above
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
            if session[0] != word or collecting or tool.is_shown or self._row or self._opened:
                return self._enter_anyhow(in_order=True)
            body = b""
            callee = self._callee = self._callee or named_callee(tool)
            meta = callee << 16
            if self._kwargs or self._args:
                short = short_body(self._args, self._kwargs)
                if short is None:
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
            start = self._start_ns = perf_counter_ns()
            words[row + START] = start  # point: quick-start
            words[row + PARENT] = parent
            words[row + CALLEE] = callee
            call_id = words[row] + GENERATION_STEP
            self._row, self._call_id = row, call_id  # point: quick-marks
            words[row] = call_id  # point: quick-id
            current_call.set(call_id)  # point: quick-begun
            return self
        except BaseException as struck:
            # It is never entered, so nobody else would end it.
            if self._row or self._opened:
                if take_up(self._call(), struck, struck):
                    raise
                return self
            if row:
                free, row = row, 0
                ready.append(free)
            if is_programs(struck):
                raise
        return self._enter_anyhow(in_order=False)

    def _exit(self, kind: Any, error: Any, traceback: Any) -> None:  # noqa: ARG002  a block's end
        """Store the call, restore the context and free its row; nothing where it did not begin."""
        # Struck before this line, a block's end never comes: so it is with context managers.
        try:
            if error is None and self._row:
                end = self._end_ns = perf_counter_ns()  # point: quick-clock
                bound = self._bound
                if self._tool.bound is bound:
                    buffer: Any
                    positions: Iterator[int]
                    _, _, ready, _, buffer, positions, shift = bound
                    call_id, start = self._call_id, self._start_ns
                    parent, meta, body = self._parent, self._meta, self._body
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
                        self._tool.is_shown = True
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
        self._row = 0
        return opened
