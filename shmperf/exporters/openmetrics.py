"""All counts and durations of a storage as OpenMetrics: what Prometheus would have scraped now."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from shmperf.query.answers import Answers

from .exposition import exposition
from .families import Family
from .prometheus import shown
from .traced import Traces

__all__ = ["export"]

_ACCEPT = "application/openmetrics-text"


def export(answers: Answers, tools: Collection[str] = ()) -> Iterator[bytes]:
    """The text of one reading, of those *tools* or of all; ShmperfError."""
    found = shown(answers, Traces())
    content, _ = exposition(_of(found, tools) if tools else found, _ACCEPT)
    yield content


def _of(families: Iterator[Family], tools: Collection[str]) -> Iterator[Family]:
    """Of *families* of tools the series of those; the others are no tool's."""
    for family in families:
        labels = [dict(one.labels).get("gen_ai_tool_name") for one in family.series]
        series = [
            one for one, tool in zip(family.series, labels, strict=True) if tool in (None, *tools)
        ]
        yield family._replace(series=series)
