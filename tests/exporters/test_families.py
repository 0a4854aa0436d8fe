"""Metrics: every call in one bucket of either kind, so many tools, in the format asked for."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from shmperf.analysis.failedtimes import OTHER
from shmperf.analysis.stats import Books, Figures
from shmperf.analysis.totals import Totals
from shmperf.exporters.exposition import Exposition, client_metrics, exposition
from shmperf.exporters.families import CLASSIC, REST, Family, Histogram, Reading, families
from shmperf.exporters.wire import fields

DURATION = "gen_ai_execute_tool_duration_seconds"
PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)


def totals_of(*durations_ns: int, errors: int = 0) -> Totals:
    found = Totals()
    found.add(durations_ns, errors, 1)
    return found


def shown(reading: Reading) -> Iterator[Family]:
    return families(reading, 1_000)


def made(figures: Figures, most_tools: int = 1_000) -> dict[str, Family]:
    return {family.name: family for family in families(Reading(figures), most_tools)}


def histograms(family: Family) -> dict[tuple[str, str], Histogram]:
    found = {}
    for series in family.series:
        labels = dict(series.labels)
        assert isinstance(series.value, Histogram)
        found[labels["gen_ai_tool_name"], labels["error_type"]] = series.value
    return found


def by_tool(family: Family) -> dict[str, object]:
    return {dict(one.labels)["gen_ai_tool_name"]: one.value for one in family.series}


@given(st.lists(st.integers(0, 10**13), max_size=50))
def test_classic_buckets_hold_what_took_at_most_so_long(durations_ns: list[int]) -> None:
    """At each power of two exactly: no bucket of the totals crosses one."""
    totals = totals_of(*durations_ns)
    found = histograms(made(Figures(totals={"tool": totals}))[DURATION])["tool", ""]
    expected = [sum(one <= bound * 1e9 for one in durations_ns) for bound in CLASSIC]
    assert list(found.classic()) == expected
    assert found.calls == len(durations_ns)


def test_what_failed_is_told_apart_by_its_type() -> None:
    """In sum all calls."""
    figures = Figures(
        totals={"tool": totals_of(10, 20, 1_000_000, errors=1)},
        failed={"tool": {"KeyError": totals_of(1_000_000, errors=1)}},
    )
    found = histograms(made(figures)[DURATION])
    assert {key: one.calls for key, one in found.items()} == {
        ("tool", ""): 2,
        ("tool", "KeyError"): 1,
    }
    assert found["tool", "KeyError"].sum_s == pytest.approx(0.001)


def test_tools_beyond_a_number_are_one() -> None:
    """The first that came stay apart; nothing is left out of a sum."""
    figures = Figures(
        totals={f"tool {n}": totals_of(5, 7, errors=1) for n in range(5)},
        failed={f"tool {n}": {"E": totals_of(7, errors=1)} for n in range(5)},
        books=Books(opened={"tool 0": 2, "tool 3": 1, "tool 4": 1, "new": 3}),
    )
    found = made(figures, 2)
    counts = {
        dict(one.labels)["gen_ai_tool_name"]: one.value
        for one in found["shmperf_calls_total"].series
    }
    assert counts == {"tool 0": 2, "tool 1": 2, REST: 6}
    opened = {
        dict(one.labels)["gen_ai_tool_name"]: one.value for one in found["shmperf_in_flight"].series
    }
    assert opened == {"tool 0": 2, "tool 1": 0, REST: 5}
    durations = histograms(found[DURATION])
    assert (durations[REST, ""].calls, durations[REST, OTHER].calls) == (3, 3)


def test_a_tool_that_is_called_like_the_rest_is_part_of_it() -> None:
    """One series, and nothing left out, however few tools there are."""
    totals = {REST: totals_of(1, 1), "a": totals_of(2), "b": totals_of(3)}
    figures = Figures(totals=totals, books=Books(opened={REST: 1, "new": 2}))
    for most, expected in ((1, {"a": 1, REST: 3}), (9, {"a": 1, "b": 1, REST: 2})):
        families_made = made(figures, most)
        assert by_tool(families_made["shmperf_calls_total"]) == expected
        assert by_tool(families_made["shmperf_in_flight"])[REST] == 3
        assert len(families_made[DURATION].series) == len(expected)


@given(st.text(max_size=40), st.integers(0, 10**12))
def test_texts_are_read_by_its_own_parsers(tool: str, duration_ns: int) -> None:
    """Whatever a tool is called: quotes, backslashes, line ends, NUL."""
    figures = Figures(totals={tool: totals_of(duration_ns)})
    for accept, parse in (("", parse_plain), ("application/openmetrics-text", parse_open)):
        content, _ = exposition(shown(Reading(figures)), accept)
        found = {one.name: one for one in parse(content.decode())}
        (sample,) = found["shmperf_calls"].samples[:1]
        assert sample.labels == {"gen_ai_tool_name": tool}
        assert sample.value == 1
        bounds = [one.labels["le"] for one in found[DURATION].samples if "le" in one.labels]
        assert float(bounds[-1]) == math.inf


@given(st.text(max_size=9), st.lists(st.integers(0, 10**13), max_size=30), st.integers(0, 2**60))
def test_texts_say_what_prometheus_client_would(
    tool: str, durations_ns: list[int], opened: int
) -> None:
    """Sample by sample, in the same order; of what it keeps as floats to their precision."""
    figures = Figures(
        totals={tool: totals_of(*durations_ns), "tool": totals_of(1)},
        failed={tool: {"KeyError": totals_of(*durations_ns[:3])}},
        books=Books(opened={tool: opened}, losses={"killed": 2}, lost=2),
    )
    for accept, parse in (("", parse_plain), ("application/openmetrics-text", parse_open)):
        content, _ = exposition(shown(Reading(figures)), accept)
        found, expected = [*parse(content.decode())], [*client_metrics(shown(Reading(figures)))]
        assert [(one.name, one.type) for one in found] == [(one.name, one.type) for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.documentation == other.documentation
            assert [_sample(sample) for sample in one.samples] == [
                _sample(sample) for sample in other.samples
            ]


def _sample(sample: Any) -> tuple[object, ...]:
    labels = {**sample.labels}
    bound = float(labels.pop("le", "nan"))
    return sample.name, labels, repr(bound), sample.value


def _native(message: bytes) -> dict[int, int]:
    """The native buckets of a histogram's message, by our own index."""
    found: dict[int, int] = {}
    deltas = iter([_signed(value) for number, value in fields(message) if number == 13])
    index, calls = 0, 0
    for number, value in fields(message):
        if number == 12 and isinstance(value, bytes):
            span = dict(fields(value))
            index += _signed(span[1])
            for _ in range(int(span[2])):
                calls += next(deltas)
                found[index - 1] = calls
                index += 1
    assert next(deltas, None) is None
    return found


def _signed(folded: int | bytes) -> int:
    value = int(folded)
    return value >> 1 ^ -(value & 1)


@given(st.lists(st.integers(0, 10**13), max_size=50))
def test_protobuf_has_both_kinds_of_buckets(durations_ns: list[int]) -> None:
    """Spans and differences give each bucket of the totals; the classic ones are all there."""
    totals = totals_of(*durations_ns)
    content, _ = exposition(shown(Reading(Figures(totals={"tool": totals}))), PROTOBUF)
    length, at = content[0], 1
    if length > 127:
        length, at = length & 127 | content[1] << 7, 2
    (metric,) = [value for number, value in fields(content[at : at + length]) if number == 4]
    assert isinstance(metric, bytes)
    (histogram,) = [value for number, value in fields(metric) if number == 7]
    assert isinstance(histogram, bytes)
    assert _native(histogram) == totals.histogram
    buckets = [dict(fields(value)) for number, value in fields(histogram) if number == 3]  # type: ignore[arg-type]  messages all
    bounds = [struct.unpack("<d", one[2])[0] for one in buckets]  # type: ignore[arg-type]  eight bytes
    assert bounds == [*CLASSIC, math.inf]
    expected = [sum(one <= bound * 1e9 for one in durations_ns) for bound in bounds]
    assert [one[1] for one in buckets] == expected


def test_what_is_kept_of_an_answer_is_never_shown_for_another() -> None:
    """Tools that are called, that come and that go: as if nothing had been kept."""
    answers = Exposition()
    states = [
        {"a": totals_of(1, 2), "b": totals_of(3)},
        {"a": totals_of(1, 2), "b": totals_of(3, 3)},
        {"a": totals_of(1, 2), "c": totals_of(1, 2)},
        {"c": totals_of(), "a": totals_of(2, 1)},
        {},
        {"a": totals_of(1, 2)},
    ]
    for accept in ("", "application/openmetrics-text", PROTOBUF):
        for state in states:
            reading = Reading(Figures(totals=state))
            fresh = exposition(shown(reading), accept)
            assert answers(shown(reading), accept) == fresh
            assert answers(shown(reading), accept) == fresh


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain;version=0.0.4", "text/plain"),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text"),
        (PROTOBUF, "application/vnd.google.protobuf"),
        (f"{PROTOBUF};q=0.6,text/plain;q=0.5", "application/vnd.google.protobuf"),
        (f"{PROTOBUF};q=0.3,text/plain;q=0.5", "text/plain"),
        (f"{PROTOBUF};q=0,text/plain;q=0.5", "text/plain"),
        (f"{PROTOBUF};q=often", "text/plain"),
        ("application/vnd.google.protobuf;encoding=text", "text/plain"),
        ("application/openmetrics-text;version=0.0.1", "text/plain"),
        ("text/plain;q=0.4,application/openmetrics-text;q=0.9", "application/openmetrics-text"),
        ("application/openmetrics-text;version=0.0.1;q=0.9,text/plain;q=0.1", "text/plain"),
        (";;,,q=", "text/plain"),
    ],
)
def test_the_scraper_chooses_the_format(accept: str, kind: str) -> None:
    """What its header weighs most, and plain text where it makes no sense."""
    _, found = exposition(shown(Reading(Figures())), accept)
    assert found.partition(";")[0] == kind


@pytest.mark.parametrize("tool", ['a "b"\\', "line\nend", "nul\0", "x" * 10_000, "half \ud800"])
def test_odd_names_are_one_label(tool: str) -> None:
    """In each format, whole; half a surrogate pair, which is no UTF-8, as its escape."""
    written = tool.encode("utf-8", "backslashreplace")
    reading = Reading(Figures(totals={tool: totals_of(7)}))
    for accept, parse in (("", parse_plain), ("application/openmetrics-text", parse_open)):
        content, _ = exposition(shown(reading), accept)
        found = {one.name: one for one in parse(content.decode())}
        assert [one.labels for one in found["shmperf_calls"].samples] == [
            {"gen_ai_tool_name": written.decode()}
        ]
    assert written in exposition(shown(reading), PROTOBUF)[0]
