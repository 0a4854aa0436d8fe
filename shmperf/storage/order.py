"""Calls by their ends, and by their ids where these are the same: the order of lines."""

from __future__ import annotations

from itertools import islice
from operator import lt

from shmperf.compiled.chosen import hot
from shmperf.shm.record import Call

__all__ = ["by_end", "in_order"]

if hot is not None:
    hot.adopt_call(Call)


def by_end(call: Call) -> tuple[int, int]:
    """What to sort by."""
    return call.end_ns, call.id


def in_order(calls: list[Call]) -> list[Call]:
    """*calls* by end: the same list where they are already."""
    return calls if _are_in_order(calls) else sorted(calls, key=by_end)


def _are_in_order(calls: list[Call]) -> bool:
    """Mostly so: each ends after the one before it. To look costs a fourth of sorting."""
    if hot is not None:
        found: bool = hot.are_in_order(calls)
        return found
    ends = [call.start_ns + (call.duration_ns or 0) for call in calls]
    return all(map(lt, ends, islice(ends, 1, None)))
