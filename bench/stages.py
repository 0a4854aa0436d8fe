"""
Where the microsecond goes: a wrapper built up stage by stage from what the hot path does.

Each stage is the one before and one thing more, so its cost is the difference. The statements are
the hot path's own, over real memory, without what makes them safe; what is left between the last
stage and the real thing is the protocol: the session word, looking at the arguments, the grant's
identity, the ``try``, and a drain that reads the same memory.

Written out in full and not composed: a call of another function would cost as much as a stage.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from struct import Struct
from time import perf_counter_ns
from typing import Any

import msgspec

from shmperf.shm.inflight import CALLEE, GENERATION_STEP, PARENT, START, begin_block
from shmperf.shm.record import SLOT

__all__ = ["STAGES", "floor_clocks", "floor_store", "stages"]

Function = Callable[..., Any]

STAGES = ("wrapper", "clock", "context", "encode", "in-flight", "reserve", "store")

_LAP_BYTES = 4096 * 256


def floor_clocks(function: Function) -> Function:
    """The least that a wrapper in pure Python with two clock reads can do."""
    return _clock(function)


def floor_store(function: Function) -> Function:
    """The same with one encode and one store of a slot, and no protocol at all."""
    slot = Struct("@248sQ")
    memory = memoryview(bytearray(256))
    encode = msgspec.msgpack.Encoder().encode

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = perf_counter_ns()
        result = function(*args, **kwargs)
        end = perf_counter_ns()
        slot.pack_into(memory, 0, encode((1, start, end, args)), 1)
        return result

    return wrapper


def stages(function: Function) -> dict[str, Function]:
    """The wrappers around *function*, each a stage longer than the one before."""
    makers = (_bare, _clock, _context, _with_encode, _with_row, _with_reserve, _with_store)
    return {name: maker(function) for name, maker in zip(STAGES, makers, strict=True)}


def _bare(function: Function) -> Function:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def _clock(function: Function) -> Function:
    clock = perf_counter_ns

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock()
        result = function(*args, **kwargs)
        clock()
        return result

    return wrapper


def _context(function: Function) -> Function:
    clock = perf_counter_ns
    current: ContextVar[int] = ContextVar("current", default=0)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock()
        outer = current.get()
        current.set(1 << 40)
        result = function(*args, **kwargs)
        clock()
        current.set(outer)
        return result

    return wrapper


def _with_encode(function: Function) -> Function:
    clock = perf_counter_ns
    current: ContextVar[int] = ContextVar("current", default=0)
    encode = msgspec.msgpack.Encoder().encode

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        body = encode(args)
        len(body)
        clock()
        outer = current.get()
        current.set(1 << 40)
        result = function(*args, **kwargs)
        clock()
        current.set(outer)
        return result

    return wrapper


def _with_row(function: Function) -> Function:
    clock = perf_counter_ns
    current: ContextVar[int] = ContextVar("current", default=0)
    encode = msgspec.msgpack.Encoder().encode
    words = memoryview(bytearray(4096)).cast("Q")
    ready = begin_block(words, 0, 1)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        body = encode(args)
        len(body)
        row = ready.pop()
        start = clock()
        outer = current.get()
        words[row + START] = start
        words[row + PARENT] = outer
        words[row + CALLEE] = 1
        call_id = words[row] + GENERATION_STEP
        words[row] = call_id
        current.set(call_id)
        result = function(*args, **kwargs)
        clock()
        current.set(outer)
        ready.append(row)
        return result

    return wrapper


def _with_reserve(function: Function) -> Function:
    clock = perf_counter_ns
    current: ContextVar[int] = ContextVar("current", default=0)
    encode = msgspec.msgpack.Encoder().encode
    words = memoryview(bytearray(4096)).cast("Q")
    ready = begin_block(words, 0, 1)
    positions = iter(range(0, _LAP_BYTES, 256))

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal positions
        body = encode(args)
        len(body)
        row = ready.pop()
        start = clock()
        outer = current.get()
        words[row + START] = start
        words[row + PARENT] = outer
        words[row + CALLEE] = 1
        call_id = words[row] + GENERATION_STEP
        words[row] = call_id
        current.set(call_id)
        result = function(*args, **kwargs)
        clock()
        for _ in positions:
            break
        else:
            positions = iter(range(0, _LAP_BYTES, 256))
        current.set(outer)
        ready.append(row)
        return result

    return wrapper


def _with_store(function: Function) -> Function:
    clock, store = perf_counter_ns, SLOT.pack_into
    current: ContextVar[int] = ContextVar("current", default=0)
    encode = msgspec.msgpack.Encoder().encode
    words = memoryview(bytearray(4096)).cast("Q")
    ready = begin_block(words, 0, 1)
    buffer = memoryview(bytearray(_LAP_BYTES))
    positions = iter(range(0, _LAP_BYTES, 256))

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal positions
        body = encode(args)
        info = len(body)
        row = ready.pop()
        start = clock()
        outer = current.get()
        words[row + START] = start
        words[row + PARENT] = outer
        words[row + CALLEE] = 1
        call_id = words[row] + GENERATION_STEP
        words[row] = call_id
        current.set(call_id)
        result = function(*args, **kwargs)
        end = clock()
        for position in positions:
            store(buffer, position, call_id, outer, start, end, 1 << 16 | info, body, position)
            break
        else:
            positions = iter(range(0, _LAP_BYTES, 256))
        current.set(outer)
        ready.append(row)
        return result

    return wrapper
