"""OpenTelemetry spans: its own library reads what is written, and the two forms say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict, Parse
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shmperf.exporters.otlp import export, export_pb
from shmperf.storage.kept import KeptCall
from shmperf.storage.origin import origin_of, trace_id

from .test_lanes import FIRST_S, call

ORIGIN = bytes(range(16))


def named(number: int, parent: int = 0, trace: int = 0, **changes: Any) -> KeptCall:
    """A call of that id."""
    made = call("search", 10 * number, 7.061)
    ids = {
        "id": f"{number:016x}",
        "parent": f"{parent:016x}" if parent else None,
        "trace": f"{trace or number:016x}",
    }
    return msgspec.structs.replace(made, **ids, **changes)


def spans_of(*calls: KeptCall) -> list[Any]:
    """What the library finds in the protobuf, which is the same as in the JSON."""
    found = list(messages(b"".join(export_pb(calls, ORIGIN))))
    lines = b"".join(export(calls, ORIGIN)).splitlines()
    for message, line in zip(found, lines, strict=True):
        assert MessageToDict(message) == MessageToDict(Parse(hexed(line), type(message)()))
    return [
        span
        for message in found
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def messages(content: bytes) -> Iterator[ExportTraceServiceRequest]:
    while content:
        size = int.from_bytes(content[:4], "big")
        yield ExportTraceServiceRequest.FromString(content[4 : 4 + size])
        content = content[4 + size :]


def hexed(line: bytes) -> str:
    """OTLP/JSON has ids in hexadecimal digits, where protobuf's own JSON has base64."""
    import base64

    def turned(value: Any) -> Any:
        if isinstance(value, list):
            return [turned(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {
            key: base64.b64encode(bytes.fromhex(one)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else turned(one)
            for key, one in value.items()
        }

    return json.dumps(turned(json.loads(line)))


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_tool_call_is_a_span_of_the_conventions() -> None:
    """Name, kind, times to the quarter of a microsecond, ids, and what was called with what."""
    (span,) = spans_of(named(3, params='{"query":"q"}'))
    assert (span.name, span.kind, span.status.code) == ("execute_tool search", 1, 0)
    assert abs(span.start_time_unix_nano - round((FIRST_S + 30e-6) * 1e9)) < 1_000
    assert span.end_time_unix_nano - span.start_time_unix_nano == 7_061
    assert span.span_id == bytes([0] * 7 + [3])
    assert attributes(span) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.call.id": "0000000000000003",
        "gen_ai.tool.call.arguments": '{"query":"q"}',
        "process.pid": 7,
    }


def test_calls_of_one_root_are_one_trace() -> None:
    """Below it by their parents; a call whose root is not known links to its parent instead."""
    root, child, lost = spans_of(named(1), named(2, 1, 1), named(9, 8))
    assert root.trace_id == child.trace_id == trace_id(ORIGIN, "0000000000000001")
    assert child.parent_span_id == root.span_id
    assert not root.parent_span_id
    assert lost.trace_id == trace_id(ORIGIN, "0000000000000009")
    assert not lost.parent_span_id
    assert [(link.trace_id, link.span_id) for link in lost.links] == [
        (trace_id(ORIGIN, "0000000000000008"), bytes([0] * 7 + [8]))
    ]


def test_failures_are_errors_with_their_type() -> None:
    """The message where one was recorded; who never ended has no length; a cancellation is none."""
    failed, aborted, cancelled = spans_of(
        named(1, status="error", err="ValueError", error="no such query"),
        named(2, status="aborted", duration_s=None),
        named(3, status="cancelled"),
    )
    assert (failed.status.code, failed.status.message) == (2, "no such query")
    assert attributes(failed)["error.type"] == "ValueError"
    assert aborted.end_time_unix_nano == aborted.start_time_unix_nano
    assert attributes(aborted)["error.type"] == "aborted"
    assert cancelled.status.code == 0
    assert attributes(cancelled)["shmperf.status"] == "cancelled"


def test_a_batch_is_bounded_and_nothing_is_an_empty_file() -> None:
    """Requests that a receiver takes; no request without a span."""
    assert list(export([])) == list(export_pb([])) == []
    sizes = [
        len(message.resource_spans[0].scope_spans[0].spans)
        for message in messages(b"".join(export_pb(named(n + 1) for n in range(1_300))))
    ]
    assert sizes == [512, 512, 276]


def test_lines_without_id_or_time_are_no_spans() -> None:
    """Somebody edited the file: neither an error nor a span without a name of its own."""
    odd = [named(1, start_s=None), call("no id of ours", 0, 1), named(1, pid=None)]
    (span,) = spans_of(*odd)
    assert "process.pid" not in attributes(span)


@given(st.text(max_size=300), st.text(max_size=300), st.integers(0, 2**63), st.floats())
def test_any_text_and_number_can_be_read(
    tool: str, params: str, number: int, duration_s: float
) -> None:
    """Every name and parameter comes back, whatever characters it has."""
    made = named(number % (1 << 60) + 1, tool=tool, params=params, duration_s=duration_s)
    (span,) = spans_of(made)
    assert span.name == f"execute_tool {tool}"
    assert span.end_time_unix_nano >= span.start_time_unix_nano


def test_an_origin_is_made_once(tmp_path: Path) -> None:
    """The same for everybody, another for another storage, whole where it was damaged."""
    inner = tmp_path / ".shmperf"
    inner.mkdir(mode=0o700)
    first = origin_of(tmp_path)
    assert len(first) == 16
    assert origin_of(tmp_path) == first
    (inner / "origin").write_bytes(first[:7])
    second = origin_of(tmp_path)
    assert second != first
    assert origin_of(tmp_path) == second
    assert [path.name for path in inner.iterdir()] == ["origin"]
    assert origin_of(tmp_path / "nowhere") == origin_of(tmp_path / "nowhere") != second


def test_calls_of_somebody_elses_trace_are_in_it() -> None:
    """The root is beneath the span it was begun under; what names no trace makes one of ours."""
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    root, child, odd, zero = spans_of(
        named(1, remote=f"{trace}-{span}"),
        named(2, 1, 1, remote=trace),
        named(3, remote="no trace at all"),
        named(4, remote="0" * 32),
    )
    assert root.trace_id.hex() == child.trace_id.hex() == trace
    assert root.parent_span_id.hex() == span
    assert child.parent_span_id == root.span_id
    assert odd.trace_id == trace_id(ORIGIN, "0000000000000003")
    assert zero.trace_id == trace_id(ORIGIN, "0000000000000004")
    assert not odd.parent_span_id
