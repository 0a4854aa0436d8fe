"""
Kept calls as readers see them: one shape, whichever mode a call was recorded in, and failed ones in
groups.

Lines come from files that anybody of the same user may have edited: a value of another type than
ours is left out, or shown as text, and never trusted further.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from shmperf.analysis.errorgroups import Bug
from shmperf.shm.record import Outcome

from .lines import timestamp

__all__ = ["ErrorGroup", "KeptCall", "failed_groups", "group_of_bug", "kept_call"]


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


class ErrorGroup(msgspec.Struct, kw_only=True):
    """
    Failed calls of one cause: caught ones by fingerprint, the others by tool, status and class.

    ``count`` is of all since the last cleanup where there is a fingerprint, else of those kept.
    """

    fingerprint: str | None
    tool: str
    tools: list[str]
    status: str | None
    err: str | None
    count: int
    first: str
    last: str
    sample: str | None
    where: str | None
    params: str | None
    id: str | None
    parent: str | None
    pid: int | None


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
        params=json.dumps(data.get("params")) if in_detail else _text(data.get("p")),
    )


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _seconds(value: object, units_a_second: int = 1) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        return value / units_a_second
    except OverflowError:  # JSON's integers have no end
        return None


def group_of_bug(fingerprint: str, bug: Bug) -> ErrorGroup:
    """Caught exceptions of one fingerprint: all since the last cleanup, kept or not."""
    sample = bug.sample
    group = ErrorGroup(
        fingerprint=fingerprint,
        tool=bug.tools[0] if bug.tools else "",
        tools=bug.tools,
        status=None,
        err=None,
        count=bug.count,
        first=timestamp(bug.first_ns),
        last=timestamp(bug.last_ns),
        sample=None,
        where=None,
        params=None,
        id=None,
        parent=None,
        pid=None,
    )
    if sample is not None:
        group.status = Outcome(sample.status).name.lower()
        group.err, group.sample, group.where = sample.err, sample.message, sample.where
        group.params, group.pid, group.id = sample.params, sample.pid, f"{sample.id:016x}"
        group.parent = f"{sample.parent:016x}" if sample.parent else None
    return group


def failed_groups(calls: Iterable[KeptCall]) -> list[ErrorGroup]:
    """Failed calls that nobody caught, by tool, status and class; each shows its newest call."""
    groups: dict[tuple[str, str, str | None], ErrorGroup] = {}
    for call in calls:
        if call.status == "ok" or call.fingerprint:
            continue
        key = (call.tool, call.status, call.err)
        group = groups.get(key)
        if group is None:
            groups[key] = _group_of(call)
            continue
        group.count += 1
        group.first = min(group.first, call.timestamp)
        if call.timestamp >= group.last:
            _show_newest(group, call)
    return list(groups.values())


def _group_of(call: KeptCall) -> ErrorGroup:
    return ErrorGroup(
        fingerprint=None,
        tool=call.tool,
        tools=[call.tool],
        status=call.status,
        err=call.err,
        count=1,
        first=call.timestamp,
        last=call.timestamp,
        sample=call.error or call.params,
        where=None,
        params=call.params,
        id=call.id,
        parent=call.parent,
        pid=call.pid,
    )


def _show_newest(group: ErrorGroup, call: KeptCall) -> None:
    group.last, group.sample = call.timestamp, call.error or call.params
    group.params, group.id, group.parent, group.pid = call.params, call.id, call.parent, call.pid
