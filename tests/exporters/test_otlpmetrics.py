"""OpenTelemetry metrics: its own library reads them, and they say what Prometheus is told."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from shmperf.analysis.stats import Books, Figures
from shmperf.exporters.families import Family, Reading, Series, families
from shmperf.exporters.otlpmetrics import Times, metric_requests
from shmperf.exporters.traced import Traced

from .receiver import attributes
from .test_families import totals_of

TIMES = Times(1_000, 2_000)
DURATION = "gen_ai.execute_tool.duration"


def metrics_of(reading: Reading, times: Times = TIMES) -> dict[str, Any]:
    """What the library finds, by name."""
    resource = (("service.name", "mine"),)
    return {
        metric.name: metric
        for body, _ in metric_requests(families(reading, 1_000), times, resource)
        for metric in metrics_in(body)
    }


def metrics_in(body: bytes) -> list[Any]:
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    assert attributes(resource.resource) == {"service.name": "mine"}
    return list(resource.scope_metrics[0].metrics)


@given(st.lists(st.integers(0, 10**13), max_size=50))
def test_each_call_is_in_its_bucket(durations_ns: list[int]) -> None:
    """Of scale 4, by the specification's own formula; count and sum are exact."""
    found = metrics_of(Reading(Figures(totals={"tool": totals_of(*durations_ns)})))[DURATION]
    assert (found.unit, found.exponential_histogram.aggregation_temporality) == ("s", 2)
    (point,) = found.exponential_histogram.data_points
    assert attributes(point) == {"gen_ai.tool.name": "tool"}
    assert (point.start_time_unix_nano, point.time_unix_nano) == TIMES
    assert (point.count, point.zero_count, point.scale) == (
        len(durations_ns),
        durations_ns.count(0),
        4,
    )
    assert math.isclose(point.sum, sum(durations_ns) / 1e9)
    assert point.zero_count + sum(point.positive.bucket_counts) == point.count
    for place, calls in enumerate(point.positive.bucket_counts, point.positive.offset):
        low, high = (1e9 * 2 ** (bound / 16) for bound in (place, place + 1))
        assert calls == sum(math.floor(low) < one <= math.floor(high) for one in durations_ns)


def test_counters_are_cumulative_sums_and_the_rest_is_of_the_moment() -> None:
    """Names and units become Prometheus' own again; only sums have a begin."""
    figures = Figures(
        totals={"tool": totals_of(10**9, errors=1)},
        failed={"tool": {"KeyError": totals_of(10**9, errors=1)}},
        books=Books(begun=3, opened={"tool": 2}),
    )
    found = metrics_of(Reading(figures))
    (calls,) = found["shmperf.calls"].sum.data_points
    assert (found["shmperf.calls"].sum.is_monotonic, calls.as_int) == (True, 1)
    assert calls.start_time_unix_nano == 1_000
    (opened,) = found["shmperf.in_flight"].gauge.data_points
    assert (opened.as_int, opened.start_time_unix_nano) == (2, 0)
    assert found["shmperf.oldest_in_flight"].unit == "s"
    points = found[DURATION].exponential_histogram.data_points
    assert [attributes(point).get("error.type") for point in points] == [None, "KeyError"]


@pytest.mark.parametrize(
    ("since_ns", "now_ns", "shown"),
    [(0, 5, (0, 5)), (9, 5, (5, 5)), (-1, 5, (0, 5)), (1, 1 << 70, (1, (1 << 63) - 1))],
)
def test_odd_times_are_bounded(since_ns: int, now_ns: int, shown: tuple[int, int]) -> None:
    """No begin where none is known, none behind its end, none beyond what the field holds."""
    figures = Figures(totals={"tool": totals_of(1)})
    found = metrics_of(Reading(figures), Times(since_ns, now_ns))["shmperf.calls"]
    (point,) = found.sum.data_points
    assert (point.start_time_unix_nano, point.time_unix_nano) == shown


@pytest.mark.parametrize("tool", ['"quoted"', "a\nb", "a\0b", "x" * 10_000, "\ud800", "κλήση"])
def test_odd_names_are_told_as_they_are(tool: str) -> None:
    """What is no UTF-8 as its escape."""
    found = metrics_of(Reading(Figures(totals={tool: totals_of(1)})))[DURATION]
    (point,) = found.exponential_histogram.data_points
    shown = tool.encode("utf-8", "backslashreplace").decode()
    assert attributes(point)["gen_ai.tool.name"] == shown


def test_what_is_long_is_several_requests() -> None:
    """Each of about a megabyte; every point is in one of them."""
    series = [Series((("cause", f"{n}-{'x' * 1_000}"),), n) for n in range(3_000)]
    family = Family("shmperf_lost_total", "counter", "Lost.", series)
    made = list(metric_requests([family], TIMES, (("service.name", "mine"),)))
    assert len(made) > 2
    assert max(len(body) for body, _ in made) < 1.1 * (1 << 20)
    points = [one for body, _ in made for m in metrics_in(body) for one in m.sum.data_points]
    assert sorted(point.as_int for point in points) == list(range(3_000))
    assert sum(points for _, points in made) == 3_000


def test_an_exemplar_is_a_span() -> None:
    """Of a call in the histogram, with its duration and the time of its end."""
    one = Traced("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1.5, 1_790_000_000.0)
    figures = Figures(totals={"tool": totals_of(1_500_000_000)})
    reading = Reading(figures, traced={"tool": {"": {0: one}}})
    (point,) = metrics_of(reading)[DURATION].exponential_histogram.data_points
    (found,) = point.exemplars
    assert (found.trace_id.hex(), found.span_id.hex()) == (one.trace_id, one.span_id)
    assert (found.as_double, found.time_unix_nano) == (1.5, 1_790_000_000 * 10**9)
