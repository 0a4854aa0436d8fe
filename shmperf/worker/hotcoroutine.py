"""
A call of a coroutine function: the hot path, awaiting.

`track_coroutine` is the text of `hotpath.track_function` but for what awaiting makes different:
it is for a task of asyncio alone, which has a context of its own; where it ends in another context
all the same (it was closed by whoever collects garbage) that one stays as it is; and of a sampled
tool all calls go the long way. Change it there, and have it written anew: ``python -m
tests.worker.hotcoroutine_text``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from shmperf.compiled.chosen import hot
from shmperf.shm.inflight import CALLEE, GENERATION_STEP, PARENT, START
from shmperf.shm.record import BODY_BYTES, NAMED, PRUNED
from shmperf.stdlib import get_ident, perf_counter_ns

from .byvalue import Number, cell_of, fast_of
from .capture import PLAIN_TYPES, SHORT, Cut, short_body
from .context import TRACKED, Pair, Seen, current_call, parent_of
from .failures import is_programs
from .gcwatch import collecting
from .hotpath import (
    RAISED,
    RETURNED,
    Wrapped,
    encode_plain,
    finish,
    has_forked_in,
    store_slot_at,
    unfinished,
)
from .spans import spans

__all__ = ["know_loop", "track_awaited", "track_coroutine"]


def _unknown() -> None:
    """Nobody has seen a loop of asyncio yet."""


_running_loop: Callable[[], object] = _unknown


def know_loop() -> None:
    """There is a loop of asyncio: from now on it can be asked for quickly."""
    global _running_loop  # noqa: PLW0603  read at each call, where anything else costs more
    _running_loop = sys.modules["asyncio.events"]._get_running_loop
    if hot is not None:
        hot.adopt_loop(_running_loop, _outer_now)


def _outer_now(outer: Any, call_id: int) -> Any:
    """What is current once the call has ended: *outer*, unless it ends in another context."""
    now = current_call.get()
    while isinstance(now, Pair):
        now = now.outer
    return outer if now == call_id else current_call.get()


def track_awaited(wrapped: Wrapped, detour: Any) -> Callable[..., Any]:
    """What records the calls of a coroutine function, compiled where that path is there."""
    wrapper, function = track_coroutine(wrapped, detour), wrapped.function
    if hot is None:
        return wrapper
    fast = wrapped.fast = fast_of(wrapper, wrapped)

    async def entrance(*args: Any, **kwargs: Any) -> Any:
        # Struck before its end is asked for, the call ends as it is let go.
        call = fast.begin(args, kwargs)
        if call is None:
            return await wrapper(*args, **kwargs)
        try:
            # By this name a debugger finds the call on its thread's stack.
            call_id = call.call_id
        except MemoryError:
            call_id = 0  # noqa: F841  as above
        try:
            return call.returned(await function(*args, **kwargs))
        except BaseException as error:
            # Noted and passed on.
            call.failed(error)
            raise

    return entrance


def track_coroutine(wrapped: Wrapped, detour: Any) -> Callable[..., Any]:  # noqa: C901, PLR0915  see above
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

    async def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: C901, PLR0912, PLR0915  see above
        bound = tool.bound
        if bound is None:
            if tool.sampled is not None:
                return await detour(*args, **kwargs)
            return await function(*args, **kwargs)
        body: bytes | None = b""
        # Flags and length, the low bits of the meta word.
        low_meta = 0
        try:
            # Until the interpreter knows what it unpacks, that takes memory.
            word, session, ready, words, buffer, positions, shift = bound
            given = args[1:] if skip else args
            if session[0] != word or in_collection or _running_loop() is None:
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
            return await detour(*args, **kwargs)
        try:
            row = ready.pop()  # point: awaited-row-take
        except IndexError:
            row = None
        if row is None:
            return await detour(*args, **kwargs)
        entry: Any = None
        call_id = position = end = start = 0
        outer = current.get()
        parent: Any = outer
        try:
            start = clock()
            words[row + row_start] = start  # point: awaited-row-start
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
            words[row + row_callee] = callee  # point: awaited-row-callee
            call_id = words[row] + step  # point: awaited-row-next-id
            words[row] = call_id  # point: awaited-row-id
            token = current.set(call_id)  # point: awaited-row-begun
            try:
                result = await function(*args, **kwargs)
            except BaseException:
                # Its own, whatever it is: passed on.
                end = RAISED
                raise
            try:
                end = clock()  # point: awaited-call-returned
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
                    # point below: awaited-left-rebound
                    left.append(entry)
                    row = 0
                    entry = None
                    finish(left, _outer_now(outer, call_id))
                    return result
                positions, shift = bound[5:]
            meta = plain_meta | low_meta
            for position in positions:  # point: awaited-slot-take
                # point below: awaited-slot-store
                store(buffer, position + shift, call_id, parent, start, end, meta, body, position)
                break  # point: awaited-slot-stored
            else:
                left = left_undone.setdefault(thread(), [])
                marks = row, call_id, parent, start, end, 0, 0
                entry = [None, None, wrapped, ready, marks, (body, low_meta)]
                # point below: awaited-left-exhausted
                left.append(entry)
                row = 0
                entry = None
                finish(left, _outer_now(outer, call_id))
                return result
            try:
                current.reset(token)  # point: awaited-context-restore
            except ValueError:
                # It ends in another context, which stays as it is.
                outer = _outer_now(outer, call_id)
            free, row = row, 0  # point: awaited-row-give-up
            ready.append(free)  # point: awaited-row-free
            return result  # point: awaited-call-done
        except BaseException as error:
            # The function's own, an interruption of the program's, or a failure of ours. Where
            # there is no room for a frame the question can't be asked.
            passes = end == RAISED or type(error) is not RecursionError
            try:
                left = left_undone.setdefault(thread(), [])
                if row:
                    marks = row, call_id, parent, start, end, position, shift
                    entry = entry or [None, error, wrapped, ready, marks, (body, low_meta)]
                    # point below: awaited-left-raised
                    left.append(entry)
                    row = 0
                    entry = None
                passes = end == RAISED or is_programs(error)
                finish(left, _outer_now(outer, call_id))
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
                    finish(left, _outer_now(outer, call_id))
                except (RecursionError, MemoryError):
                    pass
                if type(again) is not RecursionError and is_programs(again):
                    raise
            if passes:
                raise
        return result if end else await function(*args, **kwargs)

    # The first call looks at what the function returns.
    wrapped.cell = cell_of(wrapper, "tool")
    tool = wrapped.probe
    return wrapper
