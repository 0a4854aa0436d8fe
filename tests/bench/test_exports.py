"""What exports are measured with: the same calls, tools and workers on both sides."""

from __future__ import annotations

from pathlib import Path

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.exports import _formats, _sdk_spans
from bench.history import Storage
from bench.scrape import _cell
from bench.sidecars import _round, _steps
from shmperf.exporters.otlp import NO_ORIGIN, request
from shmperf.exporters.table import EXPORTERS
from shmperf.storage.kept import kept_call
from shmperf.storage.reading import read


def test_both_encoders_are_given_the_same_spans(tmp_path: Path) -> None:
    """Names, ids, times, attributes and states are those of the same calls, failed ones too."""
    Storage(tmp_path).write(1)
    calls = [kept_call(line) for line in read(tmp_path)][:500]
    both = (
        ExportTraceServiceRequest.FromString(request(calls, NO_ORIGIN)),
        ExportTraceServiceRequest.FromString(encode_spans(_sdk_spans(calls)).SerializeToString()),
    )
    ours, theirs = ([*one.resource_spans[0].scope_spans[0].spans] for one in both)
    assert len(ours) == len(theirs) == 500
    assert any(span.status.code for span in ours)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.name, one.span_id, one.kind) == (other.name, other.span_id, other.kind)
        assert one.start_time_unix_nano == other.start_time_unix_nano
        assert one.end_time_unix_nano == other.end_time_unix_nano
        assert bool(one.status.code) == bool(other.status.code)
        attributes = [
            {found.key: found.value.SerializeToString() for found in span.attributes}
            for span in (one, other)
        ]
        assert attributes[0] == attributes[1]


def test_every_format_is_measured(tmp_path: Path) -> None:
    """A rate and a size for each row of the table, and for its other form."""
    Storage(tmp_path).write(1)
    rows = {row.name: row for row in _formats(tmp_path, 1)}
    for exporter in EXPORTERS:
        assert rows[f"export {exporter.name}"].value > 0
        assert rows[f"export {exporter.name}: size"].value > 0
    assert rows["export otlp, .pb: size"].value < rows["export otlp: size"].value


def test_scrapes_are_of_workers_that_have_gone() -> None:
    """Both systems answer with every tool, after each of its calls."""
    rows = {row.name: row for row in _cell(tools=12, dead=2, rounds=2, theirs_s=60.0)}
    title = "scrape, 12 tools, 2 dead workers"
    for kind in ("protobuf", "OpenMetrics", "text", "prometheus_client's multiprocess mode"):
        row = rows[f"{title}: {kind}, to p95"]
        assert row.rounds == 2
        assert 0 < row.value <= (row.high or 0)
    assert rows[f"{title}: text ÷ prometheus_client"].value > 0


def test_sidecars_are_those_of_a_session_that_calls() -> None:
    """Spans have arrived and a scrape is answered before it begins; each process has its share."""
    found = _round(0.5, 1.5, has_exports=True)
    assert set(found.shares) == {"collector", "otlp", "prometheus"}
    assert min(found.shares.values()) > 0


def test_a_step_is_measured_with_a_reader_of_the_outbox_and_without() -> None:
    """Round by round; where nothing is written for the reader there is no figure."""
    row = _steps(3)
    assert row.rounds == 3
    assert row.value > 0
