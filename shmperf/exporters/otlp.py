"""
Kept calls as OpenTelemetry spans: OTLP/JSON, a request a line, or protobuf behind its length.

    name         execute_tool <tool>                 GenAI semantic conventions, kind INTERNAL
    span id      the record's id                     so that a span that is sent again is the same
    trace id     made of the storage's origin and    the root's id; the same in every process
                 or somebody else's trace            that the root was begun under (`adopt`, …)
    parent       the parent's id                     in the same trace; of a root, that one's span
    link         to the parent                       where the root above it can't be known: such a
                                                     call begins a trace of its own
    status       error, with ``error.type``          errors, timeouts, and calls that never ended

A call that never ended ends when it began: what else it did nobody knows. The formats are those of
the OpenTelemetry Protocol 1.x (opentelemetry-proto, ``trace.proto``) and of the collector's file
exporter, where a message of protobuf stands behind its length, four bytes, big-endian.

Protobuf is written by hand: through the library's objects a span takes three times as long.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import Any

import msgspec

from shmperf.storage.kept import KeptCall
from shmperf.storage.origin import trace_id

from .wire import message, number, text

__all__ = [
    "NO_ORIGIN",
    "SCOPE",
    "Attribute",
    "export",
    "export_pb",
    "ids_of",
    "key_value",
    "request",
    "resource_message",
    "sendable",
]

# Of calls whose storage nobody knows: their ids are unique within it alone.
NO_ORIGIN = b""

_BATCH = 512
_INTERNAL, _ERROR = 1, 2
_NO_ID = bytes(8)
_FAILED = frozenset({"error", "timeout", "aborted"})
_MOST_NS = (1 << 63) - 1
# In the year 2255: a float of seconds that is no time would be no number of nanoseconds either.
_MOST_S = 9e9
_json = msgspec.json.Encoder().encode

_CALL_ID, _PID = "gen_ai.tool.call.id", "process.pid"
_DIGITS = 16

# (key, value): a text or a whole number.
Attribute = tuple[str, str | int]


def export(calls: Iterable[KeptCall], origin: bytes = NO_ORIGIN) -> Iterator[bytes]:
    """OTLP/JSON, a request of some hundred spans a line."""
    for batch in _batches(calls):
        spans = [_span_json(call, origin) for call in batch]
        scope = {"scope": {"name": SCOPE}, "spans": spans}
        resource = {"attributes": [_attribute_json(one) for one in _RESOURCE]}
        yield _json({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}) + b"\n"


def export_pb(calls: Iterable[KeptCall], origin: bytes = NO_ORIGIN) -> Iterator[bytes]:
    """The same requests as protobuf, each behind its length."""
    for batch in _batches(calls):
        encoded = request(batch, origin)
        yield len(encoded).to_bytes(4, "big") + encoded


def request(calls: Iterable[KeptCall], origin: bytes, *attributes: Attribute) -> bytes:
    """An ExportTraceServiceRequest of *calls*; *attributes* are the resource's."""
    spans = b"".join(message(2, _span(call, origin)) for call in calls)
    scope = message(1, text(1, SCOPE))
    return message(1, resource_message(attributes or _RESOURCE) + message(2, scope + spans))


def resource_message(attributes: Iterable[Attribute]) -> bytes:
    """Whose all that follows is: the first field of a request's first."""
    return message(1, b"".join(message(1, key_value(one)) for one in attributes))


SCOPE = "shmperf"
_RESOURCE: tuple[Attribute, ...] = (("service.name", "shmperf"),)


def sendable(calls: Iterable[KeptCall]) -> Iterator[KeptCall]:
    """Those of *calls* that can be spans: with an id of ours, and a time."""
    return (call for call in calls if call.start_s is not None and _span_id(call.id))


def _batches(calls: Iterable[KeptCall]) -> Iterator[list[KeptCall]]:
    rest = sendable(calls)
    while batch := list(islice(rest, _BATCH)):
        yield batch


# --- what a span says -----------------------------------------------------------------------------


def _span_id(call_id: str | None) -> bytes:
    """Eight bytes; none for what is no id of ours."""
    if not call_id:
        return b""
    try:
        found = bytes.fromhex(call_id)
    except ValueError:
        return b""
    return found if len(found) == 8 and found != _NO_ID else b""


def _times(call: KeptCall) -> tuple[int, int]:
    start_s, length_s = call.start_s or 0.0, call.duration_s
    if 0.0 <= start_s <= _MOST_S and length_s is not None and 0.0 <= length_s <= _MOST_S - start_s:
        start_ns = round(start_s * 1e9)
        return start_ns, start_ns + round(length_s * 1e9)
    return _odd_times(start_s, length_s)


def _odd_times(start_s: float, length_s: float | None) -> tuple[int, int]:
    """Those of a call that never ended, or of a line that says what can't be."""
    start_ns = round(min(max(0.0, start_s), _MOST_S) * 1e9)
    if length_s is None or not math.isfinite(length_s) or length_s < 0:
        return start_ns, start_ns
    return start_ns, min(start_ns + round(min(length_s, _MOST_S) * 1e9), _MOST_NS)


def _place(call: KeptCall, origin: bytes) -> tuple[bytes, bytes, tuple[bytes, bytes] | None]:
    """A call's trace; its parent's span, empty for none; the trace and span that it links to."""
    trace, span = _remote(call.remote)
    parent = _span_id(call.parent)
    if trace:
        return trace, parent or span, None
    own = call.id or ""
    root = call.trace or own
    found = trace_id(origin, root)
    if parent and root == own:
        # The root above it is not known: it begins a trace of its own.
        return found, b"", (trace_id(origin, call.parent or ""), parent)
    return found, parent, None


def ids_of(call_id: int, root: int, remote: str, origin: bytes) -> tuple[bytes, str]:
    """The trace that a call's span is in, and that span; *root* is 0 where it is the call."""
    own = f"{call_id:016x}"
    return _remote(remote)[0] or trace_id(origin, f"{root:016x}" if root else own), own


def _remote(remote: str | None) -> tuple[bytes, bytes]:
    """Somebody else's trace and the span there, each empty for none, or for what is none."""
    if not remote:
        return b"", b""
    trace, _, span = remote.partition("-")
    try:
        found = bytes.fromhex(trace)
    except ValueError:
        found = b""
    return (found, _span_id(span)) if len(found) == 16 and any(found) else (b"", b"")


def _own_attributes(call: KeptCall) -> Iterator[Attribute]:
    """What is said of this call and of no other."""
    yield _CALL_ID, call.id or ""
    if call.pid is not None:
        yield _PID, call.pid
    if call.params is not None:
        yield "gen_ai.tool.call.arguments", call.params
    if call.status != "ok":
        yield "shmperf.status", call.status
    if call.status in _FAILED:
        yield "error.type", call.err or call.status
    if call.fingerprint is not None:
        yield "shmperf.fingerprint", call.fingerprint


def _tools_attributes(tool: str) -> tuple[Attribute, Attribute]:
    return ("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", tool)


def _name(tool: str) -> str:
    return f"execute_tool {tool}"


# --- JSON -----------------------------------------------------------------------------------------


def _span_json(call: KeptCall, origin: bytes) -> dict[str, Any]:
    start_ns, end_ns = _times(call)
    trace, parent, link = _place(call, origin)
    span: dict[str, Any] = {
        "traceId": trace.hex(),
        "spanId": call.id,
        "name": _name(call.tool),
        "kind": _INTERNAL,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(end_ns),
        "attributes": [
            _attribute_json(one) for one in (*_tools_attributes(call.tool), *_own_attributes(call))
        ],
    }
    if parent:
        span["parentSpanId"] = parent.hex()
    if link:
        span["links"] = [{"traceId": link[0].hex(), "spanId": link[1].hex()}]
    if call.status in _FAILED:
        span["status"] = {"code": _ERROR, "message": call.error or call.err or call.status}
    return span


def _attribute_json(attribute: Attribute) -> dict[str, Any]:
    key, value = attribute
    if isinstance(value, int):
        return {"key": key, "value": {"intValue": str(value)}}
    return {"key": key, "value": {"stringValue": value}}


# --- protobuf -------------------------------------------------------------------------------------

# trace_id and span_id, start and end: fields of a fixed length, their tags before them.
_IDS = Struct("<2s16s2s8s").pack
_TIMES = Struct("<BQBQ").pack
_TRACE_ID, _SPAN_ID, _START, _END = b"\x0a\x10", b"\x12\x08", 0x39, 0x41
_PARENT = b"\x22\x08"


def _span(call: KeptCall, origin: bytes) -> bytes:
    start_ns, end_ns = _times(call)
    trace, parent, link = _place(call, origin)
    found = _IDS(_TRACE_ID, trace, _SPAN_ID, _span_id(call.id))
    if parent:
        found += _PARENT + parent
    found += _of_tool(call.tool) + _TIMES(_START, start_ns, _END, end_ns)
    found += _own(call)
    if link:
        found += message(13, _IDS(_TRACE_ID, link[0], _SPAN_ID, link[1]))
    if call.status in _FAILED:
        said = text(2, call.error or call.err or call.status)
        found += message(15, said + number(3, _ERROR))
    return found


def _own(call: KeptCall) -> bytes:
    """Attributes of this call and of no other; of most calls two, ready but for the id."""
    call_id = call.id or ""
    says_more = call.status != "ok" or call.params is not None or call.fingerprint is not None
    if len(call_id) == _DIGITS and not says_more:
        return _before_id() + call_id.encode() + _of_process(call.pid)
    return b"".join(message(9, key_value(one)) for one in _own_attributes(call))


@lru_cache(maxsize=1)
def _before_id() -> bytes:
    """The attribute of an id without the id."""
    return message(9, key_value((_CALL_ID, "0" * _DIGITS)))[:-_DIGITS]


@lru_cache(maxsize=1_024)
def _of_process(pid: int | None) -> bytes:
    return b"" if pid is None else message(9, key_value((_PID, pid)))


@lru_cache(maxsize=4_096)
def _of_tool(tool: str) -> bytes:
    """Name, kind and attributes that all spans of a tool have."""
    found = text(5, _name(tool)) + number(6, _INTERNAL)
    return found + b"".join(message(9, key_value(one)) for one in _tools_attributes(tool))


def key_value(attribute: Attribute) -> bytes:
    """A KeyValue."""
    key, value = attribute
    held = number(3, value) if isinstance(value, int) else text(1, value)
    return _key(key) + message(2, held)


@lru_cache(maxsize=64)
def _key(key: str) -> bytes:
    return text(1, key)
