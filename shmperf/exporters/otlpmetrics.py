"""
The families that Prometheus has, as OpenTelemetry metrics: OTLP protobuf, cumulative.

    gen_ai_execute_tool_duration_seconds   gen_ai.execute_tool.duration, s, exponential histogram
    shmperf_calls_total                    shmperf.calls, a sum that only grows
    shmperf_in_flight                      shmperf.in_flight, a gauge

A receiver that makes Prometheus' names of these makes the same again, so that it does not matter
which way they came. Buckets are those of the totals: scale 4, the index of a bucket is its own.
Everything is cumulative since ``start_time``, which is the storage's begin or the last clean-up:
what is sent again says the same again, and what was not taken is in the next.

The messages are those of opentelemetry-proto 1.x, ``metrics.proto``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from shmperf.analysis.totals import SCALE

from .families import Family, Histogram, Labels, Series
from .otlp import SCOPE, Attribute, key_value, resource_message
from .traced import Traced
from .wire import double, fixed, message, number, signed, text, varint

__all__ = ["Times", "metric_requests"]

_CUMULATIVE = 2
_MOST_NS = (1 << 63) - 1
_GAUGE, _SUM, _HISTOGRAM = 5, 7, 10
_UNITS = {"_seconds": "s", "_bytes": "By"}
_NAMESPACES = {"gen_ai_execute_tool_": "gen_ai.execute_tool.", "shmperf_": "shmperf."}
_ATTRIBUTES = {
    "gen_ai_tool_name": "gen_ai.tool.name",
    "error_type": "error.type",
    "pid": "process.pid",
}
# A receiver takes some megabytes at once.
_MOST_BYTES = 1 << 20


class Times(NamedTuple):
    """Since when is counted, 0 where nobody knows, and when it was looked; Unix, nanoseconds."""

    since_ns: int
    now_ns: int

    def encoded(self, *, is_cumulative: bool) -> bytes:
        """Both fields, the same in each kind of point; what only shows a moment has no begin."""
        now_ns = min(max(0, self.now_ns), _MOST_NS)
        since_ns = min(max(0, self.since_ns), now_ns) if is_cumulative else 0
        return (fixed(2, since_ns) if since_ns else b"") + fixed(3, now_ns)


def metric_requests(
    families: Iterable[Family], times: Times, resource: Iterable[Attribute]
) -> Iterator[tuple[bytes, int]]:
    """ExportMetricsServiceRequests of about a megabyte at most, and how many points each has."""
    head = resource_message(resource)
    metrics, size, points = [], 0, 0
    for metric, held in _metrics(families, times):
        metrics.append(metric)
        size, points = size + len(metric), points + held
        if size >= _MOST_BYTES:
            yield _request(head, metrics), points
            metrics, size, points = [], 0, 0
    if metrics:
        yield _request(head, metrics), points


def _request(head: bytes, metrics: Iterable[bytes]) -> bytes:
    scope = message(1, text(1, SCOPE))
    return message(1, head + message(2, scope + b"".join(metrics)))


def _metrics(families: Iterable[Family], times: Times) -> Iterator[tuple[bytes, int]]:
    """Each family as a metric, in parts where it is long, with its points."""
    for family in families:
        points, size = [], 0
        for series in family.series:
            point = message(1, _point(family.kind, series, times))
            points.append(point)
            size += len(point)
            if size >= _MOST_BYTES:
                yield _metric(family, points), len(points)
                points, size = [], 0
        if points:
            yield _metric(family, points), len(points)


def _metric(family: Family, points: Iterable[bytes]) -> bytes:
    name, unit = _name(family.name)
    field, rest = _GAUGE, b""
    if family.kind == "counter":
        field, rest = _SUM, number(2, _CUMULATIVE) + number(3, True)
    elif family.kind == "histogram":
        field, rest = _HISTOGRAM, number(2, _CUMULATIVE)
    head = text(1, name) + text(2, family.help) + (text(3, unit) if unit else b"")
    return message(2, head + message(field, b"".join(points) + rest))


def _name(name: str) -> tuple[str, str]:
    """The name and the unit of a metric that Prometheus knows as *name*."""
    found = name.removesuffix("_total")
    unit = next((ending for ending in _UNITS if found.endswith(ending)), "")
    found = found.removesuffix(unit)
    for prefix, namespace in _NAMESPACES.items():
        if found.startswith(prefix):
            found = namespace + found.removeprefix(prefix)
            break
    return found, _UNITS.get(unit, "")


def _attributes(field: int, labels: Labels) -> bytes:
    # An empty label is none, as Prometheus has it.
    pairs: list[Attribute] = [
        (_ATTRIBUTES.get(name, name), value) for name, value in labels if value
    ]
    return b"".join(message(field, key_value(pair)) for pair in pairs)


def _point(kind: str, series: Series, times: Times) -> bytes:
    value = series.value
    if isinstance(value, Histogram):
        head = _attributes(1, series.labels) + times.encoded(is_cumulative=True)
        return head + _histogram(value)
    head = _attributes(7, series.labels) + times.encoded(is_cumulative=kind == "counter")
    if isinstance(value, int):
        return head + fixed(6, max(-_MOST_NS, min(value, _MOST_NS)))
    return head + double(4, value)


def _histogram(found: Histogram) -> bytes:
    content = fixed(4, found.calls) + double(5, found.sum_s) + signed(6, SCALE)
    content += fixed(7, found.zeros) + _buckets(found.buckets)
    return content + b"".join(message(11, _exemplar(one)) for one in found.exemplars.values())


def _exemplar(one: Traced) -> bytes:
    """A call of the histogram by its span."""
    at_ns = min(max(0, round(one.at_s * 1e9)), _MOST_NS)
    ids = message(4, bytes.fromhex(one.span_id)) + message(5, bytes.fromhex(one.trace_id))
    return fixed(2, at_ns) + double(3, one.value_s) + ids


def _buckets(buckets: Mapping[int, int]) -> bytes:
    """Those of positive values, without a gap from the first to the last."""
    if not buckets:
        return b""
    first, last = min(buckets), max(buckets)
    counts = b"".join(varint(buckets.get(place, 0)) for place in range(first, last + 1))
    return message(8, signed(1, first) + message(2, counts))
