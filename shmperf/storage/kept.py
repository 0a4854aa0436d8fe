"""
Kept calls as readers see them: one shape, whichever mode a call was recorded in.

Lines come from files that anybody of the same user may have edited: a value of another type than
ours is left out, or shown as text, and never trusted further.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from heapq import heappush, heapreplace
from math import isfinite
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from shmperf.shm.record import Call

from .lines import duration_of, jsonl, parse

__all__ = ["KeptCall", "as_kept", "kept_call", "kept_in", "rising_floor"]

# A pid_t; true would be a number, too.
_GREATEST_PID = (1 << 31) - 1


class KeptCall(msgspec.Struct, kw_only=True):
    """
    A line of history: ids of 16 hexadecimal digits, ``timestamp`` ISO 8601, ``params`` JSON.

    ``start_s`` is the same moment, Unix seconds, as finely as a line has it (a quarter of a
    microsecond); None where neither can be read.
    ``trace`` is the root's id: the call's own where it is the root, or where that can't be known.
    ``remote`` is somebody else's trace that it belongs to, and of a root, behind a dash, its parent
    there; None for none.
    No text has a lone surrogate: a line with one is no JSON, and all can be written as UTF-8.
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
    start_s: float | None = None
    remote: str | None = None

    @property
    def ms(self) -> float | None:
        """How long it took in milliseconds, to the nanosecond; None for what is no number."""
        seconds = self.duration_s
        return None if seconds is None or not isfinite(seconds) else round(seconds * 1000, 6)


def kept_call(line: Mapping[str, Any]) -> KeptCall:
    """The call of a line of history as :func:`shmperf.storage.history.read` yields it."""
    data: Mapping[str, Any] = line["data"]
    in_detail = "duration_ms" in data
    return KeptCall(
        tool=_text(line.get("tool")) or "",
        timestamp=_text(line.get("timestamp")) or "",
        id=_text(data.get("id")),
        pid=_pid(data.get("pid")),
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
        remote=_text(data.get("remote")),
        start_s=_start(data.get("start" if in_detail else "s"), line.get("timestamp")),
    )


def _params(value: object) -> str:
    """Parameters of a detailed line as JSON; those of a run that nobody asked for are cut text."""
    return value if isinstance(value, str) else json.dumps(value)


def _pid(value: object) -> int | None:
    return value if type(value) is int and 0 < value <= _GREATEST_PID else None


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _start(seconds: object, timestamp: object) -> float | None:
    start_s = _seconds(seconds)
    if start_s is None:
        try:
            start_s = datetime.fromisoformat(str(timestamp)).timestamp()
        except (ValueError, OverflowError):
            return None
    return start_s if isfinite(start_s) else None


def _seconds(value: object, units_a_second: int = 1) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        return value / units_a_second
    except OverflowError:  # JSON's integers have no end
        return None


class _Said(msgspec.Struct, gc=False):
    """What a line of ours says of its call, in either mode."""

    id: str | None = None
    pid: int | None = None
    parent: str | None = None
    parent_tool: str | None = None
    trace: str | None = None
    s: float | None = None
    d: float | None = None
    start: float | None = None
    duration_ms: float | UnsetType | None = UNSET
    status: str | None = None
    err: str | None = None
    error: str | None = None
    fingerprint: str | None = None
    remote: str | None = None


class _Told(msgspec.Struct, gc=False):
    tool: str
    timestamp: str
    data: _Said


_decode_told = msgspec.json.Decoder(_Told).decode


def kept_in(text: bytes, *, with_params: bool) -> KeptCall | None:
    """
    The call of a line, as `kept_call` has it; None for what is none.

    Without parameters, and where all is as we write it, for a quarter of the time: it is made
    without a dictionary.
    """
    if not with_params:
        try:
            told = _decode_told(text)
            start_s = _start(_start_said(told.data), told.timestamp)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
        else:
            return _without_params(told, start_s)
    line = parse(text)
    if line is None:
        return None
    found = kept_call(line)
    if not with_params:
        found.params = None
    return found


def _start_said(said: _Said) -> float | None:
    return said.s if said.duration_ms is UNSET else said.start


def _without_params(told: _Told, start_s: float | None) -> KeptCall:
    said = told.data
    if said.duration_ms is UNSET:
        parent, duration_s = said.parent, said.d
    else:
        parent = said.parent_tool
        duration_s = None if said.duration_ms is None else said.duration_ms / 1000
    return KeptCall(
        tool=told.tool,
        timestamp=told.timestamp,
        id=said.id,
        pid=said.pid,
        parent=parent,
        trace=said.trace or said.id,
        duration_s=duration_s,
        status=said.status or "ok",
        err=said.err,
        error=said.error,
        fingerprint=said.fingerprint,
        params=None,
        start_s=start_s,
        remote=said.remote,
    )


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
            # Whoever reads a damaged line counts it.
            return parse(text) is None
        if len(slowest) < most:
            heappush(slowest, duration_s)
        elif duration_s > slowest[0]:
            heapreplace(slowest, duration_s)
        else:
            return False
        return True

    return is_candidate
