"""
A call as a line of strict JSON, and a line as what it says.

The shapes of both modes; NaN and infinities become null.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from shmperf.compiled.chosen import hot
from shmperf.shm.record import OUTCOMES, Call

__all__ = ["Line", "duration_of", "end_of", "jsonl", "line_of", "parse", "timestamp"]
_json_lines = msgspec.json.Encoder().encode_lines
if hot is not None:
    hot.adopt_call(Call)
_STATUS_NAMES = dict(enumerate(OUTCOMES))


# --- lines ---------------------------------------------------------------------------------------


class _Plain(msgspec.Struct, omit_defaults=True, gc=False):
    """A call of normal mode; seconds."""

    t: str
    p: str
    s: float
    e: float | None
    d: float | None
    id: str
    pid: int
    parent: str = ""
    status: str = ""
    err: str | None = None
    truncated: bool = False
    error: str | None = None
    fingerprint: str | None = None
    where: str | None = None
    trace: str = ""
    remote: str = ""


class Line(msgspec.Struct, gc=False):
    """A line of history before it is text; ``data`` in the shape of its mode."""

    tool: str
    timestamp: str
    data: _Plain | dict[str, Any]


def jsonl(calls: Iterable[Call]) -> bytes:
    """*calls* as lines of strict JSON."""
    if hot is not None:
        found: bytes = hot.lines(list(calls), _text_of)
        return found
    return _json_lines([line_of(call) for call in calls])


def _text_of(call: Call) -> bytes:
    """The line of one that is not simple."""
    return _json_lines([line_of(call)])


def line_of(call: Call) -> Line:
    """*call* as a line."""
    return _plain(call) if call.detail is None else _detailed(call)


def _plain(call: Call) -> Line:
    tool, start, duration, status = call.tool, call.start_ns, call.duration_ns, call.status
    data = _Plain(
        tool,
        call.params,
        start / 1e9,
        None if duration is None else (start + duration) / 1e9,
        None if duration is None else duration / 1e9,
        f"{call.id:016x}",
        call.pid,
        f"{call.parent:016x}" if call.parent else "",
        _STATUS_NAMES.get(status, "error") if status else "",
        call.err,
        call.truncated,
        call.message,
        call.fingerprint,
        call.where,
        f"{call.trace:016x}" if call.trace else "",
        call.remote,
    )
    return Line(tool, timestamp(start), data)


def _detailed(call: Call) -> Line:
    detail = call.detail
    assert detail is not None  # noqa: S101  the caller has looked
    ended = call.duration_ns is not None
    fields: dict[str, Any] = {
        "tool": call.tool,
        "params": call.params if detail.is_summary else msgspec.Raw(call.params.encode() or b"{}"),
        "start": call.start_ns / 1e9,
        "end": call.end_ns / 1e9 if ended else None,
        "duration_ms": None if call.duration_ns is None else call.duration_ns / 1e6,
        "memory_mb": None if detail.memory_bytes is None else detail.memory_bytes / (1 << 20),
        "cpu_percent": detail.cpu_percent,
        "parent_tool": f"{call.parent:016x}" if call.parent else None,
        "child_tools": [f"{child:016x}" for child in detail.children],
        "error": detail.error,
        "metadata": msgspec.Raw((detail.metadata or "{}").encode()),
        "id": f"{call.id:016x}",
        "pid": call.pid,
    }
    if detail.totals:
        fields["children"] = {
            tool: {"count": count, "total_ms": total_ns / 1e6}
            for tool, (count, total_ns) in detail.totals.items()
        }
    if detail.self_ns is not None:
        fields["self_ms"] = detail.self_ns / 1e6
    if detail.params_hash is not None:
        fields["params_hash"] = detail.params_hash
    if call.status:
        fields["status"] = _STATUS_NAMES.get(call.status, "error")
    if call.err is not None:
        fields["err"] = call.err
    if call.fingerprint is not None:
        fields["fingerprint"], fields["where"] = call.fingerprint, call.where
    # Of very many children the first are named; their totals count them all.
    if call.truncated or sum(count for count, _ in detail.totals.values()) > len(detail.children):
        fields["truncated"] = True
    if call.trace:
        fields["trace"] = f"{call.trace:016x}"
    if call.remote:
        fields["remote"] = call.remote
    return Line(call.tool, timestamp(call.start_ns), fields)


_second: tuple[int, str] = (-1, "")


def timestamp(wall_ns: int) -> str:
    """ISO 8601 in UTC with microseconds; the part that changes once a second is kept."""
    global _second  # noqa: PLW0603  a memory of one entry
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    known, text = _second
    if seconds != known:
        try:
            text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        except (OverflowError, ValueError, OSError):
            text, rest = "1970-01-01T00:00:00", 0
        _second = seconds, text
    return f"{text}.{rest // 1000:06d}+00:00"


def parse(text: bytes) -> dict[str, Any] | None:
    try:
        parsed = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(parsed, dict) and isinstance(parsed.get("data"), dict):
        return parsed
    return None


class _Duration(msgspec.Struct, gc=False):
    d: float | None = None
    duration_ms: float | None = None


class _Timed(msgspec.Struct, gc=False):
    data: _Duration


_decode_timed = msgspec.json.Decoder(_Timed).decode


def duration_of(text: bytes) -> float | None:
    """How long the call of a line took, in seconds, for a third of the time of `parse`."""
    try:
        found = _decode_timed(text).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError):
        return None
    return found.d if found.duration_ms is None else found.duration_ms / 1000


def end_of(text: bytes) -> float:
    """When the call of a line ended; of an aborted one, when it began; damaged ones go first."""
    parsed = parse(text)
    if parsed is None:
        return 0.0
    fields = parsed["data"]
    for key in ("e", "end", "s", "start"):
        if isinstance(fields.get(key), (int, float)):
            try:
                return float(fields[key])
            except OverflowError:
                return 0.0
    return 0.0
