"""
Families of metrics in the formats that Prometheus asks for: protobuf, OpenMetrics, plain text.

What is made is what the scraper's ``Accept`` weighs most; who says nothing gets plain text.

A tool that nobody has called since the last answer is shown as it was then, byte for byte: what was
made of a series is kept with its value, until an answer in the same format goes without it. Of one
that has changed the labels are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from shmperf.errors import StoreError

from . import metricproto, metrictext
from .families import CLASSIC, Family, Histogram, Labels, Series

__all__ = ["Exposition", "client_metrics", "exposition"]


_Value = float | Histogram


class _Format(NamedTuple):
    """How labels, a series, a family and an answer of those are made; its ``Content-Type``."""

    content_type: str
    labels_of: Callable[[Labels], Any]
    series_of: Callable[[Family, Any, _Value], bytes]
    family_of: Callable[[Family, Sequence[bytes]], bytes]
    whole_of: Callable[[Iterable[bytes]], bytes]


# The later one where two weigh as much.
_FORMATS = {
    "text/plain": _Format(
        metrictext.PLAIN,
        metrictext.labels_of,
        metrictext.series_of,
        metrictext.plain_family_of,
        b"".join,
    ),
    "application/openmetrics-text": _Format(
        metrictext.OPEN,
        metrictext.labels_of,
        metrictext.open_series_of,
        metrictext.open_family_of,
        metrictext.open_whole_of,
    ),
    "application/vnd.google.protobuf": _Format(
        metricproto.CONTENT_TYPE,
        metricproto.labels_of,
        metricproto.series_of,
        metricproto.family_of,
        metricproto.whole_of,
    ),
}


class _Made(NamedTuple):
    """A series as it was shown."""

    value: _Value
    labels: Any
    content: bytes


class Exposition:
    """Answers to one scraper after the other, in any threads."""

    def __init__(self) -> None:
        # By format and family, with when it began to count.
        self._known: dict[tuple[str, str], tuple[int, dict[Labels, _Made]]] = {}

    def __call__(self, families: Iterable[Family], accept: str) -> tuple[bytes, str]:
        """*families* in the format that *accept*, a header, weighs most; and its content type."""
        chosen = _chosen(accept)
        made = (chosen.family_of(family, self._series(family, chosen)) for family in families)
        return chosen.whole_of(made), chosen.content_type

    def _series(self, family: Family, chosen: _Format) -> list[bytes]:
        place = chosen.content_type, family.name
        created_ns, known = self._known.get(place, (0, {}))
        if created_ns != family.created_ns:
            known = {}
        now: dict[Labels, _Made] = {}
        for labels, value in family.series:
            one = known.get(labels)
            if one is None or one.value != value:
                made = chosen.labels_of(labels) if one is None else one.labels
                one = _Made(value, made, chosen.series_of(family, made, value))
            now[labels] = one
        self._known[place] = family.created_ns, now
        return [one.content for one in now.values()]


def exposition(families: Iterable[Family], accept: str) -> tuple[bytes, str]:
    """The same once."""
    return Exposition()(families, accept)


def _chosen(accept: str) -> _Format:
    weights = dict.fromkeys(_FORMATS, 0.0)
    for part in accept.split(","):
        kind, *parameters = (one.strip() for one in part.split(";"))
        if kind in weights and _is_made(kind, parameters):
            weights[kind] = max(weights[kind], _weight(parameters))
    # As much as the others: the later one.
    kind = max(reversed(weights), key=weights.__getitem__)
    return _FORMATS[kind if weights[kind] else "text/plain"]


def _is_made(kind: str, parameters: Sequence[str]) -> bool:
    """False for a version, or an encoding, in which we do not write."""
    if kind.endswith("protobuf"):
        return "encoding=delimited" in parameters
    return not (kind.endswith("openmetrics-text") and "version=0.0.1" in parameters)


def _weight(parameters: Sequence[str]) -> float:
    weight = next((one[2:] for one in parameters if one.startswith("q=")), "1")
    return float(weight) if re.fullmatch(r"\d(\.\d{0,3})?", weight) else 0.0


# --- prometheus_client ----------------------------------------------------------------------------


def _client() -> Any:
    try:
        import prometheus_client  # noqa: PLC0415  an extra
        import prometheus_client.metrics_core  # noqa: PLC0415  the same
    except ImportError:
        missing = "prometheus_client is not installed: pip install 'shmperf[prometheus]'"
        raise StoreError(missing) from None
    return prometheus_client


def client_metrics(families: Iterable[Family]) -> Iterator[Any]:
    """*families* as prometheus_client's own; of histograms the classic buckets."""
    core = _client().metrics_core
    for family in families:
        names = [name for name, _ in family.series[0].labels] if family.series else []
        if family.kind == "histogram":
            found = core.HistogramMetricFamily(family.name, family.help, labels=names)
            for series in family.series:
                assert isinstance(series.value, Histogram)  # noqa: S101  of such a family
                buckets = list(_client_buckets(series.value))
                found.add_metric(_values(series), buckets, series.value.sum_s)
        else:
            is_counter = family.kind == "counter"
            kind = core.CounterMetricFamily if is_counter else core.GaugeMetricFamily
            found = kind(family.name, family.help, labels=names)
            for series in family.series:
                found.add_metric(_values(series), series.value)
        yield found


def _client_buckets(value: Histogram) -> Iterator[tuple[Any, ...]]:
    """Bound, calls and exemplar of each classic bucket."""
    from prometheus_client.core import Exemplar  # noqa: PLC0415  an extra, and it is there

    counts = (*value.classic(), value.calls)
    for place, (bound, count) in enumerate(zip((*CLASSIC, "+Inf"), counts, strict=True)):
        one = value.exemplars.get(place)
        yield (
            str(bound),
            count,
            None if one is None else Exemplar(one.labels, one.value_s, one.at_s),
        )


def _values(series: Series) -> list[str]:
    return [value.encode("utf-8", "backslashreplace").decode() for _, value in series.labels]
