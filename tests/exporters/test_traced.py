"""Exemplars: in the bucket in which their call lies, by the trace and span that are exported."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open

from shmperf.analysis.bucketcalls import bucket_news
from shmperf.analysis.exemplars import Exemplar, Exemplars, ExemplarsDelta
from shmperf.analysis.stats import Figures
from shmperf.analysis.totals import Totals
from shmperf.exporters.exposition import client_metrics, exposition
from shmperf.exporters.families import CLASSIC, Reading, families
from shmperf.exporters.otlp import export
from shmperf.exporters.traced import Traces
from shmperf.exporters.wire import fields
from shmperf.shm.record import Call, Outcome
from shmperf.storage.kept import as_kept
from shmperf.storage.origin import origin_of

OPEN = "application/openmetrics-text"
PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)
FIRST_NS = 1_790_000_000_000_000_000
REMOTE = "4bf92f3577b34da6a3ce929d0e0e4736"
# Beyond the last bucket, none at all, in two octaves, and one that failed.
CALLS = [
    Call("tool", 1, 42, 0, FIRST_NS, 600 * 10**9, 0, "{}"),
    Call("tool", 2, 42, 0, FIRST_NS + 1, 0, 0, "{}", trace=1),
    Call("tool", 3, 42, 1, FIRST_NS + 2, 3_000_000, 0, "{}", trace=1),
    Call("tool", 4, 42, 0, FIRST_NS + 3, 3_100_000, 0, "{}", remote=f"{REMOTE}-00f067aa0ba902b7"),
    Call("tool", 5, 42, 0, FIRST_NS, 7, int(Outcome.ERROR), "{}", err="KeyError"),
]


def kept(*calls: Call) -> Exemplars:
    found = Exemplars()
    found.apply(ExemplarsDelta([Exemplar(call) for call in calls]))
    return found


def reading(storage: Path, calls: list[Call], since_ns: int = 0) -> Reading:
    totals, failed = Totals(), Totals()
    for call in calls:
        totals.add([call.duration_ns or 0], int(bool(call.err)), 1)
        if call.err:
            failed.add([call.duration_ns or 0], 1, 1)
    exemplars = kept(*calls)
    traced = Traces().follow(storage, lambda after: bucket_news(exemplars, after))
    figures = Figures(
        totals={"tool": totals}, failed={"tool": {"KeyError": failed}}, since_ns=since_ns
    )
    return Reading(figures, traced=traced)


def test_each_bucket_has_one_and_it_lies_there(tmp_path: Path) -> None:
    """The latest; told apart by its error, and within its bounds."""
    text, _ = exposition(families(reading(tmp_path, CALLS), 9), OPEN)
    found = {}
    for family in parse_open(text.decode()):
        for one in family.samples:
            if one.exemplar is not None:
                bound = float(one.labels["le"])
                lower = max((other for other in CLASSIC if other < bound), default=-1.0)
                assert lower < one.exemplar.value <= bound
                found[one.exemplar.labels["span_id"][-1]] = one
    assert set(found) == {"1", "2", "4", "5"}
    assert found["5"].labels["error_type"] == "KeyError"
    assert found["4"].exemplar.labels["trace_id"] == REMOTE
    assert float(found["2"].exemplar.timestamp) == pytest.approx(FIRST_NS / 1e9)


def test_their_ids_are_those_of_spans(tmp_path: Path) -> None:
    """Of each call the trace that an export has it in."""
    (request,) = export(map(as_kept, CALLS), origin_of(tmp_path))
    exemplars = kept(*CALLS)
    traced = Traces().follow(tmp_path, lambda after: bucket_news(exemplars, after))
    for by_octave in traced["tool"].values():
        for one in by_octave.values():
            assert f'"traceId":"{one.trace_id}","spanId":"{one.span_id}"'.encode() in request


def test_all_formats_have_the_same(tmp_path: Path) -> None:
    """In protobuf as exemplars of the native histogram too; in plain text there are none."""
    shown = reading(tmp_path, CALLS)
    metrics = {one.name: one for one in client_metrics(families(shown, 9))}
    by_client = [
        (one.labels["le"], one.exemplar.labels["span_id"])
        for one in metrics["gen_ai_execute_tool_duration_seconds"].samples
        if one.exemplar
    ]
    assert len(by_client) == 4
    content, _ = exposition(families(shown, 9), PROTOBUF)
    for _, span in by_client:
        # In a classic bucket, and beside the native ones.
        assert content.count(span.encode()) == 2
    assert b"trace_id" not in exposition(families(shown, 9), "")[0]


def test_what_counts_has_a_begin(tmp_path: Path) -> None:
    """The same for all that counts, none for what only shows a moment; anew after a clean-up."""
    text, _ = exposition(families(reading(tmp_path, CALLS, FIRST_NS), 9), OPEN)
    created = {
        one.name: one.value
        for family in parse_open(text.decode())
        for one in family.samples
        if one.name.endswith("_created")
    }
    assert set(created.values()) == {FIRST_NS / 1e9}
    assert {"shmperf_calls_created", "gen_ai_execute_tool_duration_seconds_created"} < set(created)
    assert "shmperf_in_flight_created" not in created
    content, _ = exposition(families(reading(tmp_path, CALLS, FIRST_NS), 9), PROTOBUF)
    counters = _metrics(content, 3)
    begun = {dict(fields(dict(fields(one))[3]))[1] for one in counters}  # type: ignore[arg-type]  messages all
    assert begun == {FIRST_NS // 10**9}
    histograms = _metrics(content, 7)
    assert all(15 in dict(fields(one)) for one in histograms)


def _metrics(content: bytes, field: int) -> list[bytes]:
    """The values of that kind, of every family."""
    found, rest = [], content
    while rest:
        # A family behind its length is a field without its tag: one is put before it.
        _, family = next(fields(b"\x0a" + rest))
        assert isinstance(family, bytes)
        rest = rest[rest.index(family) + len(family) :]
        for number, metric in fields(family):
            if number == 4 and isinstance(metric, bytes):
                found += [one for kind, one in fields(metric) if kind == field]
    return found  # type: ignore[return-value]  messages all


def test_only_what_has_changed_is_asked_for(tmp_path: Path) -> None:
    """A clean-up forgets; another collector knows all that the first one knew."""
    exemplars, traces = kept(*CALLS), Traces()
    asked: list[tuple[bool, list[str]]] = []

    def follow(known: Exemplars) -> set[str]:
        def ask(after: int):  # type: ignore[no-untyped-def]  the analysis' answer
            news = bucket_news(known, after)
            asked.append((news.is_all, list(news.tools)))
            return news

        return set(traces.follow(tmp_path, ask))

    assert follow(exemplars) == {"tool"}
    other = Call("other", 9, 42, 0, FIRST_NS, 5, 0, "{}")
    exemplars.apply(ExemplarsDelta([Exemplar(other)]))
    assert follow(exemplars) == follow(exemplars) == {"tool", "other"}
    again = Exemplars.restore(exemplars.state())
    assert follow(again) == {"tool", "other"}
    again.clear()
    assert follow(again) == set()
    assert asked == [
        (True, ["tool"]),
        (False, ["other"]),
        (False, []),
        (True, ["tool", "other"]),
        (True, []),
    ]
