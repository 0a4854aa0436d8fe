"""
What recording costs on this machine, from a loop that does a little of the same.

A worker can't be asked: what it would time is what it is to save. So the collector, which runs on
the same machine and interpreter, times a wrapper that reads a context and a clock and stores a
slot, and multiplies. The factors are of `bench`, section "sampling", where they are measured anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from shmperf.analysis.budget import Costs
from shmperf.shm.record import SLOT, SLOT_BYTES

__all__ = ["CLOCKS", "COUNTED", "INSIDE", "RECORDED", "measured_costs", "reference_ns"]

# Beyond the call itself, in times of the reference.
RECORDED, COUNTED, CLOCKS = 3.4, 0.83, 0.33
# The part of the first that a call's own times hold.
INSIDE = 1.1
_ROUNDS, _LOOPS = 15, 200
_context: ContextVar[int] = ContextVar("shmperf_reference", default=0)


def reference_ns() -> float:
    """What a call of the reference takes, undisturbed."""
    buffer = bytearray(SLOT_BYTES)
    clock, current, store = time.perf_counter_ns, _context, SLOT.pack_into

    def work(number: int) -> int:
        return number

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        outer = current.get()
        start = clock()
        result = work(*args, **kwargs)
        store(buffer, 0, 1, outer, start, clock(), 2, b"", 3)
        return result

    return min(_timed(wrapper) for _ in range(_ROUNDS))


def _timed(wrapper: Callable[[int], Any]) -> float:
    start = time.perf_counter_ns()
    for number in range(_LOOPS):
        wrapper(number)
    return (time.perf_counter_ns() - start) / _LOOPS


def measured_costs() -> Costs:
    """The costs here; some milliseconds."""
    reference = reference_ns()
    factors = RECORDED, COUNTED, CLOCKS, INSIDE
    return Costs(*(factor * reference for factor in factors))
