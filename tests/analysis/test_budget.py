"""One of how many calls is recorded, so that recording costs no more than a share."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.budget import MOST_EVERY, Choice, Costs, choose

COSTS = Costs(recorded_ns=1_600, counted_ns=400, clocks_ns=150, inside_ns=500)
MEANS = st.floats(10, 1e9)
BUDGETS = st.floats(0.001, 1)


def cost_of(choice: Choice, costs: Costs = COSTS) -> float:
    """What a call costs on average under *choice*."""
    if choice.every == 1:
        return costs.recorded_ns
    counted_ns = costs.counted_ns + (costs.clocks_ns if choice.keeps_slow else 0)
    return counted_ns + (costs.recorded_ns - counted_ns) / choice.every


@given(BUDGETS, MEANS)
def test_a_choice_stays_within_the_budget_or_is_the_cheapest(budget: float, mean_ns: float) -> None:
    """Whatever a call takes: its share is kept, or nothing cheaper is to be had and it says so."""
    found = choose(budget, mean_ns, COSTS)
    if cost_of(found) > budget * mean_ns * (1 + 1e-9):
        assert (found.every, found.keeps_slow) == (MOST_EVERY, False)
        assert COSTS.counted_ns + 1_200 / 256 > budget * mean_ns
        assert "more than the budget" in found.reason


@given(BUDGETS, st.floats(410, 1_590))
def test_no_more_is_left_out_than_has_to_be(budget: float, allowed_ns: float) -> None:
    """Half as many records left out, or slow calls kept, would not fit."""
    mean_ns = allowed_ns / budget
    found = choose(budget, mean_ns, COSTS)
    assert 1 < found.every < MOST_EVERY
    fewer = Choice(found.every // 2, found.keeps_slow, "")
    assert cost_of(fewer) > budget * mean_ns * (1 - 1e-9)
    assert found.keeps_slow or cost_of(Choice(256, True, "")) > budget * mean_ns * (1 - 1e-9)


@given(BUDGETS, MEANS, st.lists(st.floats(0.8, 1.2), min_size=2, max_size=30))
def test_a_choice_does_not_go_to_and_fro(
    budget: float, mean_ns: float, factors: list[float]
) -> None:
    """Durations that vary by a fifth either way are one choice, whichever came first."""
    first = choose(budget, mean_ns * factors[0], COSTS)
    assert all(first.holds_for(mean_ns * factor) for factor in factors)


def test_longer_calls_are_recorded_more_often() -> None:
    """From counting alone over fewer and fewer left out to all."""
    found = [choose(0.05, 10 ** (n / 4), COSTS) for n in range(8, 28)]
    assert all(earlier.every >= later.every for earlier, later in pairwise(found) if later.every)
    assert (found[0].every, found[-1].every) == (MOST_EVERY, 1)
    assert {choice.keeps_slow for choice in found} == {True, False}


def test_what_a_record_adds_to_its_own_times_is_no_part_of_the_tool() -> None:
    """A call of no length is not taken for one of half a microsecond."""
    assert COSTS.own_ns(550) == 55
    assert COSTS.own_ns(10_500) == 10_000
