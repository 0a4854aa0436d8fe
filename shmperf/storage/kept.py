"""
Kept calls as readers see them: one shape, whichever mode a call was recorded in.

Lines come from files that anybody of the same user may have edited: a value of another type than
ours is left out, or shown as text, and never trusted further.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from heapq import heappush, heapreplace
from typing import Any

import msgspec

from shmperf.shm.record import Call

from .lines import duration_of, jsonl, parse

__all__ = ["KeptCall", "as_kept", "kept_call", "rising_floor"]


class KeptCall(msgspec.Struct, kw_only=True):
    """
    A line of history: ids of 16 hexadecimal digits, ``timestamp`` ISO 8601, ``params`` JSON.

    ``trace`` is the root's id: the call's own where it is the root, or where that can't be known.
    """

    tool: str
    timestamp: str
    id: str | None
    pid: int | None
    parent: str | None
    trace: str | None
    duration_s: float | None
    status: str
    err: str | None
    error: str | None
    fingerprint: str | None
    params: str | None


def kept_call(line: Mapping[str, Any]) -> KeptCall:
    """The call of a line of history as :func:`shmperf.storage.history.read` yields it."""
    data: Mapping[str, Any] = line["data"]
    in_detail = "duration_ms" in data
    return KeptCall(
        tool=_text(line.get("tool")) or "",
        timestamp=_text(line.get("timestamp")) or "",
        id=_text(data.get("id")),
        pid=data["pid"] if isinstance(data.get("pid"), int) else None,
        parent=_text(data.get("parent_tool" if in_detail else "parent")),
        trace=_text(data.get("trace") or data.get("id")),
        duration_s=_seconds(data.get("duration_ms"), 1000)
        if in_detail
        else _seconds(data.get("d")),
        status=_text(data.get("status")) or "ok",
        err=_text(data.get("err")),
        error=_text(data.get("error")),
        fingerprint=_text(data.get("fingerprint")),
        params=_params(data.get("params")) if in_detail else _text(data.get("p")),
    )


def _params(value: object) -> str:
    """Parameters of a detailed line as JSON; those of a run that nobody asked for are cut text."""
    return value if isinstance(value, str) else json.dumps(value)


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _seconds(value: object, units_a_second: int = 1) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        return value / units_a_second
    except OverflowError:  # JSON's integers have no end
        return None


def as_kept(call: Call) -> KeptCall:
    """*call* as its line of history would be read."""
    return kept_call(parse(jsonl([call])) or {"data": {}})


def rising_floor(most: int) -> Callable[[bytes], bool]:
    """
    Asked of one line after the other: whether its call may be one of the *most* slowest.

    A line that was, when *most* slower ones had not been seen yet, need not be one in the end.
    """
    slowest: list[float] = []

    def is_candidate(text: bytes) -> bool:
        duration_s = duration_of(text)
        if duration_s is None:
            return False
        if len(slowest) < most:
            heappush(slowest, duration_s)
        elif duration_s > slowest[0]:
            heapreplace(slowest, duration_s)
        else:
            return False
        return True

    return is_candidate
