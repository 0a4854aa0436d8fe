"""Calls without a record, by the shape of those that have one."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.tooltotals import ToolTotals
from shmperf.analysis.totals import Totals
from shmperf.analysis.weights import Shape

DURATIONS = st.lists(st.integers(0, 10**12), min_size=1, max_size=60)


@given(DURATIONS, st.lists(st.integers(0, 5_000), max_size=20))
def test_every_call_is_somewhere(durations: list[int], batches: list[int]) -> None:
    """However many calls come at once, the histogram ends up with as many as were counted."""
    shape, totals = Shape(), Totals()
    shape.add(durations)
    totals.add(durations, 0, 1)
    for calls in batches:
        totals.count_out(calls, 1)
        shape.spread(totals, totals.missing)
    assert totals.missing == 0
    assert totals.zero_count + sum(totals.histogram.values()) == totals.count
    assert totals.count == len(durations) + sum(batches)
    assert min(totals.histogram.values(), default=1) > 0
    mean_ns = sum(durations) / len(durations)
    assert totals.mean_ns == pytest.approx(mean_ns, abs=1 + len(batches))


@given(DURATIONS)
def test_calls_one_at_a_time_have_the_shares_of_many(durations: list[int]) -> None:
    """A slow program, whose calls are spread one by one, has the percentiles of a busy one."""
    single, at_once = Totals(), Totals()
    for totals, calls, times in ((single, 1, 2_000), (at_once, 2_000, 1)):
        shape = Shape()
        shape.add(durations)
        totals.add(durations, 0, 1)
        for _ in range(times):
            totals.count_out(calls, 1)
            shape.spread(totals, totals.missing)
    for bucket, count in at_once.histogram.items():
        assert single.histogram.get(bucket, 0) == pytest.approx(count, abs=60)


SHAPES: dict[str, Callable[[random.Random], int]] = {
    "heavy tail": lambda rng: int(1e5 * rng.paretovariate(1.5)),
    "two kinds": lambda rng: int(
        rng.gauss(1e6, 5e4) if rng.random() < 0.9 else rng.gauss(2e7, 1e6)
    ),
    "log-normal": lambda rng: int(rng.lognormvariate(12, 1)),
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("keeps_slow", [False, True])
def test_percentiles_are_near_the_truth(kind: str, keeps_slow: bool) -> None:
    """One of a hundred, all failed ones and, with a clock, all slow ones: within a few percent."""
    rng = random.Random(f"{kind} {keeps_slow}")  # noqa: S311  made-up durations
    truth = [max(1, SHAPES[kind](rng)) for _ in range(200_000)]
    slow_from = sorted(truth)[len(truth) * 99 // 100] if keeps_slow else 10**18
    analysis = ToolTotals()
    for first in range(0, len(truth), 5_000):
        recorded, ordinary, left_out = [], [], 0
        for duration in truth[first : first + 5_000]:
            is_chosen, is_slow = rng.random() < 0.01, duration > slow_from
            recorded += [duration] * (is_chosen or is_slow)
            ordinary += [duration] * (is_chosen and not is_slow)
            left_out += not (is_chosen or is_slow)
        analysis.of("tool").add(recorded, 0, 1)
        analysis.of("tool").count_out(left_out, 1)
        analysis.shape_of("tool").add(ordinary)
        analysis.take_delta()
    found, exact = analysis.known["tool"], Totals()
    exact.add(truth, 0, 1)
    assert (found.count, found.missing) == (exact.count, 0)
    for q, within in ((0.5, 0.1), (0.95, 0.25), (0.99, 0.1 if keeps_slow else 0.5)):
        assert found.quantile(q) == pytest.approx(exact.quantile(q), rel=within), q


def test_what_is_missing_is_found_by_the_next_collector() -> None:
    """A collector that is killed before it has a shape leaves calls to the next one."""
    first = ToolTotals()
    first.of("tool").count_out(70, 1)
    first.shape_of("tool")
    first.take_delta()
    assert first.known["tool"].missing == 70
    second = ToolTotals.restore(first.state())
    second.of("tool").add([5_000], 0, 2)
    second.shape_of("tool").add([5_000])
    second.take_delta()
    found = second.known["tool"]
    assert (found.count, found.missing, found.mean_ns) == (71, 0, 5_000)
