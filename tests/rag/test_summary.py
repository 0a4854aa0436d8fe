"""The performance summary: decay, merging, and what its keys mean."""

from __future__ import annotations

import copy
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.perfstate import (
    KEYS,
    Evidence,
    PerfState,
    evidence,
    forgotten,
    wilson_lower_bound,
)
from shmperf.analysis.totals import Totals

HALF_LIFE_S = 100.0
NOW_S = 1_800_000_000.0


def totals(*durations_ms: float, errors: int = 0, aborted: int = 0, at_s: float = NOW_S) -> Totals:
    found = Totals(aborted=aborted)
    found.add([round(ms * 1e6) for ms in durations_ms], errors, round(at_s * 1e9))
    found.last_ended_ns = round(at_s * 1e9)
    return found


def state(*looks: Totals) -> PerfState:
    made = PerfState(half_life_s=HALF_LIFE_S)
    for found in looks:
        made.add(found, now_s=NOW_S + 10_000)
    return made


LOOK = st.builds(
    lambda durations, errors, aborted, age_s: totals(
        *durations, errors=min(errors, len(durations)), aborted=aborted, at_s=NOW_S - age_s
    ),
    st.lists(st.floats(0, 1e6), max_size=8),
    st.integers(0, 8),
    st.integers(0, 3),
    st.floats(0, 2_000),
)
LOOKS = st.lists(LOOK, max_size=8)


def assert_alike(one: PerfState, other: PerfState) -> None:
    """Equal but for rounding, and for buckets that weigh nothing."""
    for field in PerfState.__struct_fields__:
        ours, theirs = getattr(one, field), getattr(other, field)
        if field == "histogram":
            least = max(one.finished_weight, 1e-300) * 1e-6
            for index in ours.keys() | theirs.keys():
                assert math.isclose(
                    ours.get(index, 0.0), theirs.get(index, 0.0), rel_tol=1e-6, abs_tol=least
                )
        else:
            assert math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9), field


def test_the_keys_are_the_promised_ones() -> None:
    """A summary has these keys, in this order, with or without calls."""
    assert tuple(state(totals(1.0)).summary()) == KEYS
    assert tuple(forgotten(HALF_LIFE_S)) == KEYS


def test_one_call_is_told_exactly() -> None:
    """The mean and the percentiles of one call are its duration."""
    found = state(totals(120.0)).summary()
    assert (found["avg_duration_ms"], found["p50_ms"], found["p95_ms"]) == (120.0, 120.0, 120.0)
    assert (found["call_count"], found["error_count"], found["error_rate"]) == (1, 0, 0.0)
    assert found["last_updated"] == "2027-01-15T08:00:00.000000+00:00"
    assert (found["window_s"], found["trend"], found["half_life_s"]) == (0.0, 1.0, HALF_LIFE_S)


def test_a_call_weighs_half_after_a_half_life() -> None:
    """Two calls of 100 ms a half-life ago weigh as much as one of 400 ms now."""
    found = state(totals(100, 100, at_s=NOW_S - HALF_LIFE_S), totals(400)).summary()
    assert found["avg_duration_ms"] == pytest.approx(250)
    assert found["trend"] == pytest.approx(250 / 200)
    assert (found["call_count"], found["window_s"]) == (3, HALF_LIFE_S)


def test_a_break_shows_at_once_and_is_forgiven_later() -> None:
    """The error rate follows what happens, while the count of errors remembers."""
    long_ago = totals(*[1.0] * 64, at_s=NOW_S - 6 * HALF_LIFE_S)
    broken = state(long_ago, totals(1.0, errors=1, at_s=NOW_S))
    assert broken.summary()["error_rate"] == pytest.approx(0.5)
    broken.add(totals(*[1.0] * 9, at_s=NOW_S + 10 * HALF_LIFE_S), now_s=NOW_S + 20 * HALF_LIFE_S)
    later = broken.summary()
    assert later["error_count"] == 1
    assert float(str(later["error_rate"])) < 0.001


def test_aborted_calls_fail_and_have_no_duration() -> None:
    """A tool that kills its worker is no reliable one, and its mean says nothing of that call."""
    found = state(totals(10, 10, aborted=2)).summary()
    assert (found["call_count"], found["aborted_count"], found["error_rate"]) == (2, 2, 0.5)
    assert found["avg_duration_ms"] == pytest.approx(10)
    dead = state(totals(aborted=1)).summary()
    assert (dead["avg_duration_ms"], dead["p95_ms"], dead["error_rate"]) == (None, None, 1.0)


def test_the_bound_is_wilsons() -> None:
    """Known values of the 95 % interval: 8 of 10, 0 of 10, 10 of 10, and nothing of nothing."""
    assert wilson_lower_bound(8, 10) == pytest.approx(0.4901625, abs=1e-6)
    assert wilson_lower_bound(0, 10) == 0.0
    assert wilson_lower_bound(10, 10) == pytest.approx(0.7224672, abs=1e-6)
    assert wilson_lower_bound(0, 0) is None


def test_a_clock_set_back_spoils_nothing() -> None:
    """A call from what seems the future weighs as one that ends now."""
    made = PerfState(half_life_s=HALF_LIFE_S)
    made.add(totals(10.0, at_s=NOW_S + 1e6), now_s=NOW_S)
    made.add(totals(30.0, at_s=NOW_S), now_s=NOW_S)
    assert made.at_s == NOW_S
    assert made.summary()["avg_duration_ms"] == pytest.approx(20)


def test_half_lives_do_not_mix() -> None:
    """Figures that forget at different paces are not added."""
    with pytest.raises(ValueError, match="half-lives"):
        state(totals(1)).merge(PerfState(half_life_s=1.0, calls=1))


@given(LOOKS, LOOKS)
def test_merging_is_commutative(one: list[Totals], other: list[Totals]) -> None:
    """Whose figures are added to whose makes no difference."""
    left, right = state(*one), state(*other)
    swapped = copy.deepcopy(right)
    swapped.merge(left)
    left.merge(right)
    assert_alike(left, swapped)


@given(LOOKS, LOOKS, LOOKS)
def test_merging_is_associative(a: list[Totals], b: list[Totals], c: list[Totals]) -> None:
    """Nor does the order in which collectors are merged."""
    left, right = state(*a), state(*b)
    left.merge(state(*b))
    left.merge(state(*c))
    right.merge(state(*c))
    first = state(*a)
    first.merge(right)
    assert_alike(left, first)


@given(LOOKS, st.integers(0, 8))
def test_a_restart_changes_nothing(looks: list[Totals], at: int) -> None:
    """A state that is written and read in between goes on as if nothing had been."""
    halfway = state(*looks[:at])
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(halfway), type=PerfState)
    for found in looks[at:]:
        read.add(found, now_s=NOW_S + 10_000)
    assert_alike(read, state(*looks))


@given(LOOKS)
def test_a_summary_can_always_be_stored(looks: list[Totals]) -> None:
    """Finite numbers within their bounds, whatever the calls were."""
    found = state(*looks).summary()
    numbers = [value for value in found.values() if isinstance(value, int | float)]
    assert all(math.isfinite(value) and value >= 0 for value in numbers)
    if found["error_rate"] is not None:
        bound, rate = float(str(found["success_lower_bound"])), float(str(found["error_rate"]))
        assert 0 <= bound <= 1 - rate + 1e-9
    if found["p50_ms"] is not None:
        assert float(str(found["p50_ms"])) <= float(str(found["p95_ms"]))


@given(st.integers(1, 10_000), st.data())
def test_evidence_is_read_back_from_a_summary(calls: int, data: st.DataObject) -> None:
    """The decayed numbers of successes and failures follow from rate and bound."""
    errors = data.draw(st.integers(0, calls))
    found = state(totals(*[1.0] * calls, errors=errors)).summary()
    assert evidence(found, NOW_S) == pytest.approx((calls - errors, errors), rel=1e-3, abs=1e-3)
    aged = evidence(found, NOW_S + HALF_LIFE_S)
    assert sum(aged) == pytest.approx(calls / 2, rel=1e-3)


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"call_count": "many"},
        {"call_count": 1, "error_rate": math.nan, "success_lower_bound": 0.5},
        {"call_count": True, "error_rate": 0, "success_lower_bound": 0},
    ],
)
def test_what_is_no_summary_is_no_evidence(strange: dict[str, object]) -> None:
    """A store may hold anything under the key."""
    assert evidence(strange, NOW_S) == Evidence(0.0, 0.0)


@pytest.mark.parametrize("ahead_s", [1.0, HALF_LIFE_S, 1e9])
def test_a_summary_from_the_future_counts_as_one_of_now(ahead_s: float) -> None:
    """Whose clock is ahead makes its calls weigh no more than calls that end now."""
    found = state(totals(*[1.0] * 20, errors=5)).summary()
    assert evidence(found, NOW_S - ahead_s) == evidence(found, NOW_S)


def test_a_summary_of_before_a_clock_was_set_back_has_a_window() -> None:
    """The span from first look to last call is never negative, and the time can be shown."""
    made = PerfState(half_life_s=HALF_LIFE_S, at_s=NOW_S, since_s=NOW_S + 60.0, calls=1)
    assert made.summary()["window_s"] == 0.0
    late = PerfState(half_life_s=HALF_LIFE_S, at_s=1e300, calls=1, finished_weight=1.0)
    assert str(late.summary()["last_updated"]).startswith("9999-12-31")


def test_a_call_from_the_future_is_told_as_one_of_now() -> None:
    """No summary says that a tool was last called at a time that is still to come."""
    made = PerfState(half_life_s=HALF_LIFE_S)
    made.add(totals(10.0, at_s=NOW_S + 1e6), now_s=NOW_S)
    assert made.at_s == made.since_s == NOW_S


def test_figures_of_before_a_clock_was_set_back_weigh_as_those_of_now() -> None:
    """What was known when the clock was ahead does not outweigh what comes after."""
    made = PerfState(half_life_s=HALF_LIFE_S)
    made.add(totals(10.0, at_s=NOW_S + 1e6), now_s=NOW_S + 1e6)
    made.add(totals(30.0, at_s=NOW_S), now_s=NOW_S)
    assert made.at_s == NOW_S
    assert made.summary()["avg_duration_ms"] == pytest.approx(20)
