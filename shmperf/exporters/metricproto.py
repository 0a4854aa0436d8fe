"""
Families of metrics as protobuf: native histograms beside the classic buckets.

The messages are those of ``io.prometheus.client`` (metrics.proto of prometheus/client_model): a
family behind its length, one after the other. They are written by hand: prometheus_client answers
with text where protobuf is asked for.

Classic buckets between two durations that occur all hold as many calls, and differ in their bounds
alone: they are joined by what they share, so that thirty buckets cost as much as five.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import sub

from shmperf.analysis.totals import SCALE

from .families import CLASSIC, Family, Histogram, Labels
from .traced import Traced
from .wire import double, message, number, signed, text, varint

__all__ = ["CONTENT_TYPE", "family_of", "labels_of", "series_of", "whole_of"]

CONTENT_TYPE = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
_KINDS = {"counter": 0, "gauge": 1, "histogram": 4}
_BOUNDS = [double(2, bound) for bound in CLASSIC]
_LAST_BOUND = double(2, math.inf)
_BOUND_BYTES = len(_LAST_BOUND)
# Tags: of a classic bucket, and of the calls in it.
_BUCKET, _CALLS = message(3, b"")[:1], number(1, 0)[:1]
# A schema, and a zero bucket for what took no time at all.
_SCHEMA = signed(5, SCALE) + double(6, 0.0)
# Told apart from a classic histogram by a span, though it holds nothing.
_NO_SPAN = [(0, 0)]


def whole_of(families: Iterable[bytes]) -> bytes:
    """An answer of such *families*."""
    return b"".join(families)


def family_of(family: Family, series: Sequence[bytes]) -> bytes:
    """A MetricFamily behind its length; nothing without *series*."""
    if not series:
        return b""
    head = text(1, family.name) + text(2, family.help) + number(3, _KINDS[family.kind])
    content = head + b"".join(series)
    return varint(len(content)) + content


def series_of(family: Family, labels: bytes, value: float | Histogram) -> bytes:
    """One Metric, of *labels* as `labels_of` makes them."""
    if isinstance(value, Histogram):
        content = message(7, _histogram(value) + _created(15, family.created_ns))
    elif family.kind == "counter":
        content = message(3, double(1, value) + _created(3, family.created_ns))
    else:
        content = message(2, double(1, value))
    return message(4, labels + content)


def labels_of(labels: Labels) -> bytes:
    """The first fields of a Metric."""
    return b"".join(message(1, text(1, name) + text(2, value)) for name, value in labels)


def _histogram(found: Histogram) -> bytes:
    calls = number(1, found.calls)
    exemplars = {place: _exemplar(one) for place, one in found.exemplars.items()}
    parts = [calls, double(2, found.sum_s)]
    for first, behind, up_to in found.runs():
        # Classic buckets that hold equally many.
        held = _CALLS + varint(up_to)
        if first in exemplars:
            # The bucket that a call lies in holds more than the one before: it begins a run.
            parts.append(message(3, held + _BOUNDS[first] + message(3, exemplars[first])))
            first += 1  # noqa: PLW2901  the rest of the run, if there is one
            if first == behind:
                continue
        shared = _BUCKET + varint(len(held) + _BOUND_BYTES) + held
        parts += shared, shared.join(_BOUNDS[first:behind])
    beyond = exemplars.get(len(_BOUNDS))
    last = calls + _LAST_BOUND + (message(3, beyond) if beyond else b"")
    parts += message(3, last), _SCHEMA, number(7, found.zeros), _native(found.buckets)
    # Of a native histogram as such, in any order; of classic buckets they stand in those.
    parts += [message(16, one) for one in exemplars.values()]
    return b"".join(parts)


# Most are the same from scrape to scrape, whatever has become of their series.
@lru_cache(maxsize=16_384)
def _exemplar(one: Traced) -> bytes:
    trace, span = _TRACE + one.trace_id.encode(), _SPAN + one.span_id.encode()
    return trace + span + double(2, one.value_s) + message(3, _timestamp(round(one.at_s * 1e9)))


# The same in all that a scrape shows.
@lru_cache(maxsize=16)
def _created(field: int, at_ns: int) -> bytes:
    return message(field, _timestamp(at_ns)) if at_ns else b""


def _timestamp(at_ns: int) -> bytes:
    seconds, nanoseconds = divmod(at_ns, 10**9)
    return _of_second(seconds) + number(2, nanoseconds)


@lru_cache(maxsize=1_024)
def _of_second(seconds: int) -> bytes:
    return number(1, seconds)


# The labels of an exemplar, of as many digits as each of them always has, without these.
_TRACE = labels_of((("trace_id", "0" * 32),))[:-32]
_SPAN = labels_of((("span_id", "0" * 16),))[:-16]


def _native(buckets: Mapping[int, int]) -> bytes:
    """Spans of buckets without a gap, then each bucket's difference from the one before."""
    places = sorted(buckets)
    counts = [*map(buckets.__getitem__, places)]
    told = b"".join(_span(offset, length) for offset, length in _spans(places) or _NO_SPAN)
    return told + b"".join(map(_DELTAS.__getitem__, map(sub, counts, [0, *counts])))


def _spans(places: Sequence[int]) -> list[tuple[int, int]]:
    """Buckets left out before each span, and its length."""
    # Prometheus names a bucket by its upper boundary, we by its lower one.
    if not places:
        return []
    if places[-1] - places[0] + 1 == len(places):
        return [(places[0] + 1, len(places))]
    return list(_with_gaps(places))


def _with_gaps(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    following = 0
    start = expected = places[0]
    for place in places:
        if place != expected:
            yield start + 1 - following, expected - start
            following, start = expected + 1, place
        expected = place + 1
    yield start + 1 - following, expected - start


# Both are small numbers nearly always.
@lru_cache(maxsize=4_096)
def _span(offset: int, length: int) -> bytes:
    return message(12, signed(1, offset) + number(2, length))


class _Deltas(dict[int, bytes]):
    """A bucket's difference from the one before, small ones ready made."""

    def __missing__(self, difference: int) -> bytes:
        folded = difference + difference if difference >= 0 else -difference - difference - 1
        return _DELTA + varint(folded)


_DELTA = signed(13, 0)[:1]
_DELTAS = _Deltas((difference, signed(13, difference)) for difference in range(-1_024, 1_024))
