"""
Families of metrics as text: Prometheus' own format (0.0.4) and OpenMetrics (1.0.0).

    # HELP name What it is.
    # TYPE name histogram
    name_bucket{label="value",le="0.5"} 3
    name_count{label="value"} 3
    name_sum{label="value"} 0.7

The two differ in the name of a counter, which OpenMetrics has without ``_total``, and in the last
line, ``# EOF``. prometheus_client writes the same, and takes thirty times as long: for each line it
makes dictionaries, sorts and escapes. Here labels are escaped once a series, and buckets that hold
equally many calls are joined by what their lines share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from .families import CLASSIC, Family, Histogram, Labels
from .traced import Traced

__all__ = [
    "OPEN",
    "PLAIN",
    "labels_of",
    "open_family_of",
    "open_series_of",
    "open_whole_of",
    "plain_family_of",
    "series_of",
]

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_BOUNDS = [repr(bound) for bound in CLASSIC]
_NO_EXEMPLARS: dict[int, Traced] = {}
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def plain_family_of(family: Family, series: Sequence[bytes]) -> bytes:
    """A family's head, and its lines."""
    return _head(family, family.name) + b"".join(series)


def open_family_of(family: Family, series: Sequence[bytes]) -> bytes:
    """The same for OpenMetrics."""
    return _head(family, family.name.removesuffix("_total")) + b"".join(series)


def open_whole_of(families: Iterable[bytes]) -> bytes:
    """An answer in OpenMetrics."""
    return b"".join((*families, b"# EOF\n"))


def _head(family: Family, name: str) -> bytes:
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n".encode()


def series_of(family: Family, labels: str, value: float | Histogram) -> bytes:
    """The lines of one series; a lone surrogate, which is no UTF-8, as its escape."""
    if isinstance(value, Histogram):
        lines = _histogram(family.name, labels, value)
    else:
        lines = f"{family.name}{_braced(labels)} {_number(value)}\n"
    return lines.encode("utf-8", "backslashreplace")


def open_series_of(family: Family, labels: str, value: float | Histogram) -> bytes:
    """The same for OpenMetrics: with exemplars, and when what counts began."""
    if isinstance(value, Histogram):
        lines = _histogram(family.name, labels, value, value.exemplars)
    else:
        lines = f"{family.name}{_braced(labels)} {_number(value)}\n"
    if family.created_ns:
        name = family.name.removesuffix("_total")
        lines += f"{name}_created{_braced(labels)} {family.created_ns / 1e9!r}\n"
    return lines.encode("utf-8", "backslashreplace")


def labels_of(labels: Labels) -> str:
    """What stands between braces."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in sorted(labels))


def _histogram(
    name: str, labels: str, found: Histogram, exemplars: Mapping[int, Traced] = _NO_EXEMPLARS
) -> str:
    comma = "," if labels else ""
    head = f'{name}_bucket{{{labels}{comma}le="'
    lines: list[str] = []
    for first, behind, calls in found.runs():
        tail = f'"}} {calls}\n'
        if first in exemplars:
            # The bucket that a call lies in holds more than the one before: it begins a run.
            lines += head, _BOUNDS[first], tail[:-1], _exemplar(exemplars[first]), "\n"
            first += 1  # noqa: PLW2901  the rest of the run, if there is one
        if first < behind:
            lines += head, (tail + head).join(_BOUNDS[first:behind]), tail
    beyond = exemplars.get(len(_BOUNDS))
    last = _exemplar(beyond) if beyond else ""
    braced = _braced(labels)
    return (
        f'{"".join(lines)}{head}+Inf"}} {found.calls}{last}\n'
        f"{name}_count{braced} {found.calls}\n{name}_sum{braced} {_number(found.sum_s)}\n"
    )


# Most are the same from scrape to scrape, whatever has become of their series.
@lru_cache(maxsize=16_384)
def _exemplar(one: Traced) -> str:
    labels = f'trace_id="{one.trace_id}",span_id="{one.span_id}"'
    return f" # {{{labels}}} {one.value_s!r} {one.at_s!r}"


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
