"""
What a session shows to Prometheus: families of metrics, made of one reading of the records.

One reading is of all workers, those included that have gone: it costs the same however many there
were. Durations are histograms with both kinds of buckets: classic ones at powers of two, and native
ones of schema 4, which are those of the totals themselves. So each quantile is as good as in
``stats``, and histograms of several sessions add up.

Counters go on through restarts of collectors and sessions; after a clean-up they begin at zero,
which Prometheus takes for a reset.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, repeat
from typing import NamedTuple

from shmperf.analysis.failedtimes import OTHER, went_well
from shmperf.analysis.stats import Figures
from shmperf.analysis.totals import SCALE, Totals
from shmperf.session.messages import OpenCallAnswer, SessionStatus

from .traced import ByTool, Traced

__all__ = ["CLASSIC", "Family", "Histogram", "Reading", "Series", "families"]

# Tools beyond those that are shown apart: what they did is one series.
REST = "_other"

# Classic buckets reach from a microsecond to nine minutes: 2 ** -20 to 2 ** 9 seconds.
_CLASSIC_OCTAVES = range(-20, 10)
CLASSIC = [2.0**octave for octave in _CLASSIC_OCTAVES]
# The first of them that holds all of bucket 0 of the totals, which lies above one second.
_OF_BUCKET_0 = 1 - _CLASSIC_OCTAVES.start

_DURATION = "gen_ai_execute_tool_duration_seconds"
_TOOL, _ERROR_TYPE = "gen_ai_tool_name", "error_type"

Labels = tuple[tuple[str, str], ...]
_ByOctave = Mapping[int | None, Traced]


class Histogram(NamedTuple):
    """
    Calls, seconds in sum, calls that took no time at all, and calls by bucket (see `totals`).

    ``exemplars`` are calls in some of `CLASSIC` by its place, and in what is beyond.
    """

    calls: int
    sum_s: float
    zeros: int
    buckets: Mapping[int, int]
    exemplars: Mapping[int, Traced] = {}

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """
        Places in `CLASSIC`, the first and the one behind, and the calls that took at most so long.

        One run after the other is all of `CLASSIC`; neighbours differ.
        """
        buckets = self.buckets
        present = sorted(buckets)
        sums = [*accumulate(map(buckets.__getitem__, present), initial=self.zeros)]
        first = last = 0
        # An octave of buckets, whole, lies between two bounds.
        while last < len(present):
            octave = present[last] >> SCALE
            place = octave + _OF_BUCKET_0
            if place > first:
                if place >= len(CLASSIC):
                    break
                yield first, place, sums[last]
                first = place
            last = bisect_left(present, (octave + 1) << SCALE, last)
        yield first, len(CLASSIC), sums[last]

    def classic(self) -> Iterator[int]:
        """How many calls took at most as long as each of `CLASSIC` says."""
        for first, behind, calls in self.runs():
            yield from repeat(calls, behind - first)


class Series(NamedTuple):
    """A family's value under some labels."""

    labels: Labels
    value: float | Histogram


class Family(NamedTuple):
    """
    One metric: a ``counter``, whose name ends in ``_total``, a ``gauge`` or a ``histogram``.

    What counts began with nothing at ``created_ns`` (Unix), 0 where nobody knows when.
    """

    name: str
    kind: str
    help: str
    series: Sequence[Series]
    created_ns: int = 0


class Reading(NamedTuple):
    """What was asked of a session at one moment; *status* is None where only figures are known."""

    figures: Figures
    opened: Sequence[OpenCallAnswer] = ()
    status: SessionStatus | None = None
    traced: Mapping[str, Mapping[str, _ByOctave]] = {}


def families(reading: Reading, most_tools: int) -> Iterator[Family]:
    """Every family, in the same order each time; so many tools apart (`export.most_tools`)."""
    figures = reading.figures
    since_ns = figures.since_ns
    shown = _Shown(figures, most_tools)
    durations = list(shown.durations(reading.traced))
    yield Family(_DURATION, "histogram", "How long calls took.", durations, since_ns)
    for name, text, values in (
        ("calls", "Calls that ended.", shown.counts(lambda one: one.count)),
        ("errors", "Calls that failed.", shown.counts(lambda one: one.errors)),
        ("aborted", "Calls that a worker's death ended.", shown.counts(lambda one: one.aborted)),
        ("sampled_out", "Calls without a record.", shown.counts(lambda one: one.sampled_out)),
    ):
        yield Family(f"shmperf_{name}_total", "counter", text, values, since_ns)
    yield Family(
        "shmperf_in_flight", "gauge", "Calls that are open.", shown.by_tool(figures.books.opened)
    )
    oldest: dict[str, float] = {}
    for call in reading.opened:
        oldest[call.tool] = max(oldest.get(call.tool, 0.0), call.running_s)
    yield Family(
        "shmperf_oldest_in_flight_seconds",
        "gauge",
        "How long the oldest open call has been running.",
        shown.by_tool(oldest, greatest=True),
    )
    lost = figures.books.lost_by_cause()
    causes = [Series((("cause", cause),), count) for cause, count in sorted(lost.items())]
    text = "Calls without a record, by cause."
    yield Family("shmperf_lost_total", "counter", text, causes, since_ns)
    if reading.status is not None:
        yield from _of_status(reading.status)


class _Shown:
    """The tools that are shown apart, always the same ones, and the rest as one."""

    def __init__(self, figures: Figures, most_tools: int) -> None:
        # A tool that is called as the rest is goes with it: no series stands twice.
        tools = sorted(figures.totals, key=REST.__eq__)
        self._failed = figures.failed
        # In the order in which they came: who is shown apart stays so.
        self._apart = {tool: figures.totals[tool] for tool in tools[:most_tools]}
        self._labels: dict[str, Labels] = {tool: ((_TOOL, tool),) for tool in self._apart}
        self._rest = [figures.totals[tool] for tool in tools[most_tools:]]
        self._rest_failed = [self._failed.get(tool, {}) for tool in tools[most_tools:]]

    def counts(self, of: Callable[[Totals], int]) -> list[Series]:
        """A number of each tool's totals."""
        found = list(map(Series, self._labels.values(), map(of, self._apart.values())))
        if self._rest:
            found.append(Series(((_TOOL, REST),), sum(map(of, self._rest))))
        return found

    def by_tool(self, values: Mapping[str, float], *, greatest: bool = False) -> list[Series]:
        """Values that are known by tool, 0 for tools that have none."""
        found = {tool: values.get(tool, 0) for tool in self._apart}
        others = [value for tool, value in values.items() if tool not in found or tool == REST]
        if others or self._rest:
            found[REST] = max(others, default=0) if greatest else sum(others)
        labels = self._labels | {REST: ((_TOOL, REST),)}
        return [Series(labels[tool], value) for tool, value in found.items()]

    def durations(self, traced: ByTool) -> Iterator[Series]:
        """What went well and what failed, by type of error; of tools apart with exemplars."""
        for tool, totals in self._apart.items():
            yield from _durations(tool, totals, self._failed.get(tool, {}), traced.get(tool, {}))
        if self._rest:
            failed = _merged(one for types in self._rest_failed for one in types.values())
            types = {OTHER: failed} if failed.count else {}
            yield from _durations(REST, _merged(self._rest), types, {})


def _durations(
    tool: str, totals: Totals, failed: Mapping[str, Totals], traced: Mapping[str, _ByOctave]
) -> Iterator[Series]:
    well = went_well(totals, failed) if failed else totals
    yield Series(((_TOOL, tool), (_ERROR_TYPE, "")), _histogram(well, traced.get("")))
    for error_type, one in sorted(failed.items()):
        histogram = _histogram(one, traced.get(error_type))
        if histogram.calls:
            yield Series(((_TOOL, tool), (_ERROR_TYPE, error_type)), histogram)


def _histogram(totals: Totals, traced: _ByOctave | None) -> Histogram:
    sum_s = totals.sum_ns / 1e9
    exemplars = _by_place(traced) if traced else {}
    return Histogram(totals.timed, sum_s, totals.zero_count, totals.histogram, exemplars)


def _by_place(traced: _ByOctave) -> dict[int, Traced]:
    """By the place in `CLASSIC` of the bucket, the latest where several octaves share one."""
    found: dict[int, Traced] = {}
    for octave, one in traced.items():
        place = 0 if octave is None else octave + _OF_BUCKET_0
        place = min(max(0, place), len(CLASSIC))
        if place not in found or found[place].at_s < one.at_s:
            found[place] = one
    return found


def _merged(parts: Iterable[Totals]) -> Totals:
    found = Totals()
    for part in parts:
        found.merge(part)
    return found


def _of_status(status: SessionStatus) -> Iterator[Family]:
    kinds = Counter((alert.kind, alert.severity) for alert in status.alerts)
    alerts = [
        Series((("kind", kind), ("severity", severity)), count)
        for (kind, severity), count in sorted(kinds.items())
    ]
    yield Family("shmperf_alerts", "gauge", "Alerts that are open.", alerts)
    workers = len(status.workers)
    if status.collector is not None:
        text = "The longest that a worker's records lately waited for a look."
        lag = [Series((), status.collector.lag_s)]
        yield Family("shmperf_collector_lag_seconds", "gauge", text, lag)
    yield Family("shmperf_workers", "gauge", "Processes that record.", [Series((), workers)])
    memory = [
        Series((("pid", str(worker.pid)),), worker.memory_bytes)
        for worker in status.workers
        if worker.memory_bytes is not None
    ]
    yield Family("shmperf_worker_resident_bytes", "gauge", "Memory of each of them.", memory)
