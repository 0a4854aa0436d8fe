"""
Failed calls in groups, as readers see them: what analyses counted, shown by a call that is kept.

Counts are those of every failed call since the last cleanup. Of a storage that a former version
wrote, or whose journal is gone, they are of what is kept: no group is smaller than that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from shmperf.analysis.errorgroups import OTHERS, Bug
from shmperf.analysis.failures import ErrorsKnown, Failure
from shmperf.shm.record import OUTCOMES, Call

from .kept import KeptCall, as_kept
from .lines import timestamp

__all__ = ["ErrorGroup", "groups_of"]

# No parameters, or unknown ones, as those of an aborted call.
_UNKNOWN = "{}"
# Tool, how it ended, class.
_Key: TypeAlias = tuple[str, str | None, str | None]


class ErrorGroup(msgspec.Struct, kw_only=True):
    """
    Failed calls of one cause: caught ones by fingerprint, the others by tool, status and class.

    ``count`` is exceptions where there is a fingerprint, else calls; ``calls`` is the failed calls:
    one exception may fail several, one inside the other. ``sample`` is the message of one of them,
    or, where none is recorded (normal mode keeps the class alone), its parameters, as ``sample_of``
    says: ``message`` or ``parameters``.
    """

    fingerprint: str | None
    tool: str
    tools: list[str]
    status: str | None
    err: str | None
    count: int
    calls: int
    first: str
    last: str
    sample: str | None = None
    sample_of: str | None = None
    where: str | None = None
    params: str | None = None
    id: str | None = None
    parent: str | None = None
    pid: int | None = None


def groups_of(
    known: ErrorsKnown, kept: Iterable[KeptCall], tool: str | None = None
) -> list[ErrorGroup]:
    """All groups, of one *tool* or of all; each shows the newest call that is *kept* somewhere."""
    caught = [
        _of_bug(fingerprint, bug, tool)
        for fingerprint, bug in known.caught.items()
        if tool is None or tool in bug.tools
    ]
    exact: dict[_Key, ErrorGroup] = {
        (one.tool, _name_of(one.status), one.err): _of_failure(one) for one in known.uncaught
    }
    for key, group in _of_kept(kept).items():
        counted = exact.get(key)
        if counted is not None:
            _show_newest(counted, group)
            counted.count = counted.calls = max(counted.count, group.count)
        elif not _others_of(key) & exact.keys():
            exact[key] = group
    for call in map(as_kept, known.latest):
        counted = exact.get((call.tool, call.status, call.err))
        if counted is not None:
            _show_newest(counted, _of_call(call))
    return [*caught, *(one for one in exact.values() if tool is None or one.tool == tool)]


def _name_of(status: int) -> str:
    return OUTCOMES[status] if 0 <= status < len(OUTCOMES) else "error"


def _others_of(key: _Key) -> set[_Key]:
    """Where a call of *key* is counted that has no group of its own."""
    return {(key[0], key[1], OTHERS), (OTHERS, key[1], OTHERS)}


def _of_bug(fingerprint: str, bug: Bug, tool: str | None) -> ErrorGroup:
    """Caught exceptions of one fingerprint; the calls are those of *tool*, or all."""
    group = ErrorGroup(
        fingerprint=fingerprint,
        tool=bug.tools[0] if bug.tools else "",
        tools=bug.tools,
        status=None,
        err=None,
        count=bug.count,
        # Of groups that a former version began: each exception has failed one call at least.
        calls=max(sum(bug.calls.values()), bug.count) if tool is None else bug.calls.get(tool, 0),
        first=timestamp(bug.first_ns),
        last=timestamp(bug.last_ns),
    )
    if bug.sample is not None:
        group.status = _name_of(bug.sample.status)
        group.err, group.where = bug.sample.err, bug.sample.where
        _show(group, bug.sample)
    return group


def _of_failure(failure: Failure) -> ErrorGroup:
    group = ErrorGroup(
        fingerprint=None,
        tool=failure.tool,
        tools=[failure.tool],
        status=_name_of(failure.status),
        err=failure.err,
        count=failure.count,
        calls=failure.count,
        first=timestamp(failure.first_ns),
        last=timestamp(failure.last_ns),
    )
    if failure.sample is not None:
        _show(group, failure.sample)
    return group


def _show(group: ErrorGroup, call: Call) -> None:
    """Let *call* stand for the group."""
    parent = f"{call.parent:016x}" if call.parent else None
    group.id, group.parent = f"{call.id:016x}", parent
    group.params, group.pid = call.params, call.pid
    group.sample, group.sample_of = _sample(call.message, call.params)


def _sample(message: str | None, params: str | None) -> tuple[str | None, str | None]:
    if message:
        return message, "message"
    return (params, "parameters") if params and params != _UNKNOWN else (None, None)


def _of_kept(calls: Iterable[KeptCall]) -> dict[_Key, ErrorGroup]:
    """Those of *calls* that failed and that nobody caught."""
    groups: dict[_Key, ErrorGroup] = {}
    for call in calls:
        if call.status == "ok" or call.fingerprint:
            continue
        key = (call.tool, call.status, call.err)
        found = _of_call(call)
        group = groups.setdefault(key, found)
        if group is not found:
            group.count = group.calls = group.count + 1
            _show_newest(group, found)
    return groups


def _of_call(call: KeptCall) -> ErrorGroup:
    sample, sample_of = _sample(call.error, call.params)
    return ErrorGroup(
        fingerprint=None,
        tool=call.tool,
        tools=[call.tool],
        status=call.status,
        err=call.err,
        count=1,
        calls=1,
        first=call.timestamp,
        last=call.timestamp,
        sample=sample,
        sample_of=sample_of,
        params=call.params,
        id=call.id,
        parent=call.parent,
        pid=call.pid,
    )


def _show_newest(group: ErrorGroup, other: ErrorGroup) -> None:
    """Widen *group* by the times of *other*, which stands for it where it is as new."""
    group.first = min(group.first, other.first)
    if other.last < group.last:
        return
    group.last, group.params, group.pid = other.last, other.params, other.pid
    group.sample, group.sample_of = other.sample, other.sample_of
    group.id, group.parent = other.id, other.parent
