"""How a tool, or all of them, did over time: the intervals as points of a chart and a heat map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from shmperf.analysis.packedtotals import IntervalTotals
from shmperf.analysis.spans import Span

from .answers import Answers

__all__ = ["HEAT_STEPS", "Step", "Trend", "trend"]

# Rows of a heat map in an octave; a histogram has sixteen buckets there.
HEAT_STEPS = 2
_BUCKETS_A_ROW = 16 // HEAT_STEPS
_MOST_STEPS = 240


class Step(msgspec.Struct, kw_only=True):
    """
    One point: what ended between ``at_s`` (Unix seconds) and ``length_s`` later.

    ``heat`` counts calls by duration: row n holds those above 2^(n/2) s up to 2^((n+1)/2) s; calls
    without any measurable duration are in none. Quantiles are None without a timed call.
    """

    at_s: float
    length_s: float
    count: int
    errors: int
    own_s: float
    total_s: float
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    heat: dict[int, int]


class Trend(msgspec.Struct, kw_only=True):
    """Points in the order of time; the last ``open`` of them may still grow."""

    tool: str | None
    steps: list[Step]
    open: int


def trend(
    answers: Answers,
    tool: str | None = None,
    since_s: float | None = None,
    until_s: float | None = None,
    most: int = _MOST_STEPS,
) -> Trend:
    """What *tool*, or all, did between two times; neighbours are merged down to *most* points."""
    spans = list(answers.intervals(tool, since_s, until_s).spans())
    spans.sort(key=_start)
    each = max(1, -(-len(spans) // most))
    groups = [spans[first : first + each] for first in range(0, len(spans), each)]
    still_open = sum(any(span.is_open for span in group) for group in groups)
    return Trend(tool=tool, steps=[_step(group) for group in groups], open=still_open)


def _start(span: Span) -> float:
    return span.start_s


def _step(group: list[Span]) -> Step:
    merged = IntervalTotals()
    for span in group:
        for totals in span.tools.values():
            merged.merge(totals)
    told = merged.stats("", 0, 0)
    first = group[0].start_s
    return Step(
        at_s=first,
        length_s=max(span.start_s + span.length_s for span in group) - first,
        count=merged.count,
        errors=merged.errors,
        own_s=merged.own_ns / 1e9,
        total_s=merged.sum_ns / 1e9,
        p50_s=told.p50_s,
        p95_s=told.p95_s,
        p99_s=told.p99_s,
        heat=_heat(merged.histogram.items()),
    )


def _heat(buckets: Iterable[tuple[int, int]]) -> dict[int, int]:
    # Bucket k holds what is above 2^(k/16) s, up to 2^((k+1)/16) s.
    rows: Counter[int] = Counter()
    for bucket, count in buckets:
        rows[bucket // _BUCKETS_A_ROW] += count
    return dict(sorted(rows.items()))
