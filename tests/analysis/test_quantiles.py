"""Limits of quantiles and shares: as wide as the truth needs, on any distribution of durations."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.quantiles import Estimate, Histogram, difference, ratio, share
from shmperf.analysis.totals import Totals

Draw = Callable[[random.Random], float]
# By name: how durations are drawn, and what half and 95 % of them do not exceed.
DISTRIBUTIONS: dict[str, tuple[Draw, float, float]] = {
    "exponential": (lambda r: r.expovariate(1), math.log(2), math.log(20)),
    "log-normal": (lambda r: r.lognormvariate(0, 0.5), 1.0, math.exp(0.5 * 1.6448536)),
    "uniform": (lambda r: r.uniform(1, 2), 1.5, 1.95),
    "narrow": (lambda r: r.uniform(1, 1.01), 1.005, 1.0095),
    "two modes": (lambda r: r.uniform(1, 1.1) + 4 * (r.random() < 0.25), 1.0666667, 5.08),
}


def counted(durations_ns: list[int]) -> Totals:
    totals = Totals()
    totals.add(durations_ns, 0, 1)
    return totals


@pytest.mark.parametrize("count", [20, 400, 4_000])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_limits_hold_the_truth_as_often_as_they_say(name: str, count: int) -> None:
    """Of 200 intervals of 95 % at most 8 % miss the true quantile, whatever the distribution."""
    draw, half, most = DISTRIBUTIONS[name]
    rng = random.Random(f"{name} {count}")  # noqa: S311  no secret
    missed = {0.5: 0, 0.95: 0}
    for _ in range(200):
        histogram = Histogram(counted([int(draw(rng) * 1e6) for _ in range(count)]))
        for q, truth in ((0.5, half), (0.95, most)):
            found = histogram.quantile(q, 0.05)
            assert found is not None
            low, high = found.low or 0.0, found.high or math.inf
            missed[q] += not low <= truth * 1e6 <= high
    assert max(missed.values()) <= 16, missed


def test_too_few_calls_have_no_limit() -> None:
    """Of five calls nobody knows how long one in twenty takes; of none nothing at all."""
    few = Histogram(counted([1000, 1100, 1200, 1300, 1400])).quantile(0.95, 0.05)
    assert few is not None
    assert (few.low is not None, few.high) == (True, None)
    assert Histogram(Totals()).quantile(0.5, 0.05) is None


def test_known_limits_of_the_median() -> None:
    """Of 20 calls the 6th and the 15th hold the median in 95 of 100 cases, as tables have it."""
    found = Histogram(counted([1000 * 2**n for n in range(20)])).quantile(0.5, 0.05)
    assert found is not None
    assert found.low == pytest.approx(1000 * 2**5, rel=0.05)
    assert found.high == pytest.approx(1000 * 2**14, rel=0.05)


def test_approximated_limits_meet_the_exact_ones() -> None:
    """Where the way of reckoning changes, the limits do not jump."""

    def width(count: int) -> float:
        found = Histogram(counted([1_000_000 + 1_000 * n for n in range(count)]))
        estimate = found.quantile(0.95, 0.05)
        assert estimate is not None
        assert estimate.low is not None
        assert estimate.high is not None
        return (estimate.high - estimate.low) / 1_000

    # 50 expected above the quantile: 1,000 calls.
    exact, approximate = width(998), width(1_002)
    assert approximate == pytest.approx(exact, rel=0.1)


@given(
    st.lists(st.integers(0, 1 << 62), max_size=50),
    st.floats(0.5, 0.99),
    st.floats(1e-12, 0.5),
)
def test_limits_lie_around_the_figure(durations: list[int], q: float, doubt: float) -> None:
    """Whatever was counted, low, figure and high stand in this order, between least and most."""
    found = Histogram(counted(durations)).quantile(q, doubt)
    if found is None:
        assert not durations
        return
    assert min(durations) <= found.value <= max(durations)
    assert found.low is None or found.low <= found.value
    assert found.high is None or found.high >= found.value


@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(1e-9, 0.5))
def test_shares_lie_within_their_limits(part: int, rest: int, doubt: float) -> None:
    """A share and its limits are between nothing and all."""
    found = share(part, part + rest, doubt)
    if found is None:
        assert part + rest == 0
        return
    low, high = limits(found)
    assert 0 <= low <= found.value <= high <= 1


def limits(found: Estimate) -> Iterator[float]:
    assert found.low is not None
    assert found.high is not None
    yield found.low
    yield found.high


def test_wilsons_limits_are_the_published_ones() -> None:
    """10 of 100: 5.5 % to 17.4 %, and none of 20 is not nothing."""
    found = share(10, 100, 0.05)
    assert found is not None
    assert [round(one, 3) for one in limits(found)] == [0.055, 0.174]
    none = share(0, 20, 0.05)
    assert none is not None
    assert none.high == pytest.approx(0.161, abs=0.001)


def test_a_comparison_is_as_unsure_as_both() -> None:
    """A limit that is missing on one side is missing in what is made of it."""
    known, open_above = Estimate(2.0, 1.0, 4.0), Estimate(4.0, 2.0, None)
    found = ratio(known, open_above)
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert found.low == pytest.approx(2.0 / math.exp(math.hypot(math.log(2), math.log(2))))
    assert found.high is None
    assert ratio(known, Estimate(0.0, 0.0, 0.0)) is None
    assert difference(known, known).value == 0


def test_sampled_calls_are_no_surer_than_those_that_were_recorded() -> None:
    """A thousand estimates of a hundred records are as unsure as the hundred records."""
    few = counted([int(1e6 * 1.01**n) for n in range(100)])
    many = counted([int(1e6 * 1.01**n) for n in range(100) for _ in range(10)])
    many.sampled_out = 900
    alone, weighted = Histogram(few).quantile(0.5, 0.05), Histogram(many).quantile(0.5, 0.05)
    assert alone is not None
    assert weighted is not None
    assert weighted.low == pytest.approx(alone.low, rel=0.02)
    assert weighted.high == pytest.approx(alone.high, rel=0.02)
