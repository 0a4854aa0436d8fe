"""
A call of normal mode with short parameters, begun and ended in one step each.

What `OpenCall` does step by step, for a call whose way is plain: the tool's tuple fits the session
word, the parameters fit a slot, a row and a position are ready. Where it is not, the call begins
as an `OpenCall`, or becomes one (`resumed`) and ends as that. A call through all interceptors costs
2.4 µs by it and not 2.9, with two arguments 3.0 and not 3.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from shmperf.shm.inflight import CALLEE, GENERATION_STEP, PARENT, START
from shmperf.shm.record import NAMED, PRUNED, SLOT, kind_of, meta_of
from shmperf.stdlib import perf_counter_ns
from shmperf.worker.capture import Cut, short_body
from shmperf.worker.context import Pair, Seen, current_call, parent_of
from shmperf.worker.gcwatch import collecting, is_collecting
from shmperf.worker.opencall import OpenCall
from shmperf.worker.process import Tool
from shmperf.worker.slots import suspect_hole
from shmperf.worker.spans import spans

__all__ = ["Passage", "QuickCall"]

_store = SLOT.pack_into


class QuickCall(msgspec.Struct):
    """One that has begun; what it holds is all that its end needs."""

    tool: Tool
    callee: int
    bound: tuple[Any, ...]
    ready: list[int]
    row: int
    call_id: int
    parent: int
    start_ns: int
    outer: int | Pair
    body: bytes
    meta: int
    end_ns: int = 0
    position: int = 0

    def try_end(self) -> bool:
        """Store the call and free its row; False when that takes an `OpenCall`."""
        self.end_ns = end = perf_counter_ns()
        bound, call_id = self.bound, self.call_id
        if self.tool.bound is not bound:
            return False
        buffer: Any
        positions: Iterator[int]
        _, _, _, _, buffer, positions, shift = bound
        parent, start, meta, body = (
            self.parent,
            self.start_ns,
            self.meta,
            self.body,
        )
        # One line: nothing may come between taking a position and storing it.
        for self.position in positions:
            # point below: quick-store
            _store(buffer, self.position + shift, call_id, parent, start, end, meta, body, self.position)  # fmt: skip  # noqa: E501
            break  # point: quick-stored
        else:
            return False
        if current_call.get() != call_id:
            return False
        current_call.set(self.outer)
        row, self.row = self.row, 0  # point: quick-row-give-up
        self.ready.append(row)  # point: quick-row-free
        return True

    def resumed(self) -> OpenCall:
        """The same call, as far as it has come, to be ended step by step."""
        times = self.start_ns, self.end_ns
        marks = self.row, self.call_id, self.parent, *times, self.position, self.bound[-1]
        if self.end_ns:
            # Struck in its end, if there was a position to take.
            suspect_hole(self.tool)
        opened = OpenCall.resumed(self.tool, self.callee, self.ready, marks)
        opened.outer = self.outer
        opened.body, opened.flags = self.body, kind_of(self.meta)
        return opened


class Passage(msgspec.Struct):
    """
    One call's way through the chain, for those who want it.

    ``start_ns`` only where none of them takes the time; ``is_elsewhere`` when a framework's hook
    records the call.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    is_timed: bool = False
    is_elsewhere: bool = False
    start_ns: int = 0
    end_ns: int = 0
    quick: QuickCall | None = None
    opened: OpenCall | None = None

    def try_begin(self, tool: Tool, callee: int) -> bool:
        """Begin a quick call and make it current; False when that takes an `OpenCall`."""
        bound = tool.bound
        if bound is None:
            return False
        word, session, ready, words, _, _, _ = bound
        if session[0] != word or collecting:
            return False
        args, kwargs = self.args, self.kwargs
        body, kind = b"", 0
        if args or kwargs:
            short = short_body(args, kwargs)
            if short is None:
                return False
            body = short
            kind = (NAMED if args and kwargs else 0) | (PRUNED if type(body) is Cut else 0)
        meta = meta_of(callee, kind, len(body))
        try:
            row = ready.pop()
        except IndexError:
            return False
        try:
            outer = current_call.get()
            parent = outer if type(outer) is int else parent_of(outer)
            if not parent and spans.root is None:
                parent = spans.above()
            start = perf_counter_ns()
            call_id = words[row] + GENERATION_STEP
            words[row + START] = start  # point: quick-start
            words[row + PARENT] = parent
            words[row + CALLEE] = callee
            self.quick = QuickCall(
                tool, callee, bound, ready, row, call_id, parent, start, outer, body, meta
            )
            words[row] = call_id  # point: quick-id
            current_call.set(call_id)  # point: quick-begun
        except BaseException:
            # Struck before there is what will end it: it has not begun.
            if self.quick is None:
                free, row = row, 0
                ready.append(free)
            raise
        return True

    def expect_again(self, tool: Tool) -> None:
        """Let the decorator of the function that is called now know its call by this one."""
        begun = self.quick or self.opened
        if begun is not None and begun.call_id and not is_collecting():
            inside = parent_of(begun.call_id)
            current_call.set(Seen(begun.call_id, inside, tool.name, "chain"))

    def call(self) -> OpenCall | None:
        """The call step by step, whichever way it began; None when it is not recorded."""
        if self.quick is not None:
            self.opened = self.quick.resumed()
            self.quick = None
        return self.opened
