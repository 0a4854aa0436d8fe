"""
Where the microsecond goes: a wrapper built up stage by stage from what the hot path does.

Each stage is the one before and one thing more, so its cost is the difference. The statements are
the hot path's own, over real memory, without what makes them safe; what is left between the last
stage and the real thing is the protocol: the session word, the grant's identity, the ``try``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from struct import Struct
from time import perf_counter_ns
from typing import Any

import msgspec

from shmperf.inflight import CALLEE, GENERATION_STEP, PARENT, START, begin_block
from shmperf.record import SLOT

from .peers import tool

__all__ = ["STAGES", "floor_clocks", "floor_store", "stages"]

STAGES = ("wrapper", "clock", "context", "encode", "in-flight", "reserve and store")

_LAP_BYTES = 4096 * 256


def floor_clocks() -> Callable[[], Any]:
    """The least that a wrapper in pure Python with two clock reads can do."""
    return _clock()


def floor_store() -> Callable[[], Any]:
    """The same with one encode and one store of a slot, and no protocol at all."""
    slot = Struct("@248sQ")
    memory = memoryview(bytearray(256))
    encode = msgspec.msgpack.Encoder().encode

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = perf_counter_ns()
        result = tool(*args, **kwargs)
        end = perf_counter_ns()
        slot.pack_into(memory, 0, encode((1, start, end, args)), 1)
        return result

    return wrapper


def stages() -> dict[str, Callable[[], Any]]:
    """The wrappers, each a stage longer than the one before."""
    return {
        "wrapper": _bare(),
        "clock": _clock(),
        "context": _context(),
        "encode": _with_encode(),
        "in-flight": _with_row(),
        "reserve and store": _with_store(),
    }


def _bare() -> Callable[[], Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return tool(*args, **kwargs)

    return wrapper


def _clock() -> Callable[[], Any]:
    clock = perf_counter_ns

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock()
        result = tool(*args, **kwargs)
        clock()
        return result

    return wrapper


def _context() -> Callable[[], Any]:
    clock = perf_counter_ns
    current: ContextVar[int] = ContextVar("current", default=0)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock()
        outer = current.get()
        current.set(1 << 40)
        result = tool(*args, **kwargs)
        clock()
        current.set(outer)
        return result

    return wrapper


def _with_encode() -> Callable[[], Any]:
    clock = perf_counter_ns
    current: ContextVar[int] = ContextVar("current", default=0)
    encode = msgspec.msgpack.Encoder().encode

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        body = encode(args)
        clock()
        outer = current.get()
        current.set(1 << 40)
        result = tool(*args, **kwargs)
        clock()
        current.set(outer)
        len(body)
        return result

    return wrapper


def _with_row() -> Callable[[], Any]:
    clock = perf_counter_ns
    current: ContextVar[int] = ContextVar("current", default=0)
    encode = msgspec.msgpack.Encoder().encode
    words = memoryview(bytearray(4096)).cast("Q")
    ready = begin_block(words, 0, 1)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        body = encode(args)
        row = ready.pop()
        start = clock()
        outer = current.get()
        words[row + START] = start
        words[row + PARENT] = outer
        words[row + CALLEE] = 1
        call_id = words[row] + GENERATION_STEP
        words[row] = call_id
        current.set(call_id)
        result = tool(*args, **kwargs)
        clock()
        current.set(outer)
        ready.append(row)
        len(body)
        return result

    return wrapper


def _with_store() -> Callable[[], Any]:
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
        row = ready.pop()
        start = clock()
        outer = current.get()
        words[row + START] = start
        words[row + PARENT] = outer
        words[row + CALLEE] = 1
        call_id = words[row] + GENERATION_STEP
        words[row] = call_id
        current.set(call_id)
        result = tool(*args, **kwargs)
        end = clock()
        for position in positions:
            store(buffer, position, call_id, outer, start, end, 1 << 16 | len(body), body, position)
            break
        else:
            positions = iter(range(0, _LAP_BYTES, 256))
        current.set(outer)
        ready.append(row)
        return result

    return wrapper
