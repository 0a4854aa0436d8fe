"""Totals against sorted data, and the shape that people read."""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.stats import plain
from shmperf.analysis.totals import SCALE, Totals, bucket_of, in_seconds, upper_bound
from shmperf.config.options import Options
from shmperf.storage.journal import Recovered
from shmperf.storage.state import Ledger
from shmperf.storage.upgrade import upgraded

DURATIONS = st.lists(st.integers(-5, 1 << 45), min_size=1, max_size=80)
WIDTH = 2 ** (1 / (1 << SCALE))


def totals_of(durations, errors=0, ended=0):
    found = Totals()
    found.add(durations, errors, ended)
    return found


@given(st.integers(1, (1 << 63) - 1))
def test_a_bucket_holds_what_lies_between_its_boundaries(duration):
    """Base to the index is below the duration in seconds, base to the next is not, exactly."""
    index, power = bucket_of(duration), Fraction(duration, 10**9) ** (1 << SCALE)
    assert Fraction(2) ** index < power <= Fraction(2) ** (index + 1)


def test_boundaries_are_floors_of_exact_powers():
    """At every boundary: what is not above it is in the bucket below, a nanosecond more is not."""
    for k in range(-478, 530):
        boundary = round(upper_bound(k - 1))
        while Fraction(boundary, 10**9) ** (1 << SCALE) > Fraction(2) ** k:
            boundary -= 1
        while Fraction(boundary + 1, 10**9) ** (1 << SCALE) <= Fraction(2) ** k:
            boundary += 1
        assert bucket_of(boundary) < k <= bucket_of(boundary + 1)


@pytest.mark.parametrize("exponent", range(-9, 34))
def test_powers_of_two_close_their_bucket(exponent):
    """So many seconds are the upper boundary of their bucket; a nanosecond more is in the next."""
    duration = int(Fraction(10**9) * Fraction(2) ** exponent)
    index = exponent * (1 << SCALE) - 1
    assert bucket_of(duration) == index
    assert bucket_of(duration + 1) == index + 1
    assert upper_bound(index) == duration


@given(st.integers(1, (1 << 62)))
def test_former_buckets_go_where_most_of_them_lies(duration):
    """Counted in buckets of base 2 in nanoseconds: afterwards a call is at most one too high."""
    power, former = duration ** (1 << SCALE), (duration.bit_length() - 1) * (1 << SCALE) - 1
    while Fraction(2) ** (former + 1) < power:
        former += 1
    ((index, count),) = in_seconds({former: 7}).items()
    assert (index - bucket_of(duration), count) in {(0, 7), (1, 7)}


@given(DURATIONS, st.floats(0, 1))
def test_a_quantile_is_at_most_a_bucket_off(durations, q):
    """Of any data and any share: within the relative width of a bucket of the sorted data's."""
    found = totals_of(durations).quantile(q)
    data = sorted(max(0, duration) for duration in durations)
    exact = data[max(1, math.ceil(q * len(data) - 1e-9)) - 1]
    assert data[0] <= found <= data[-1]
    assert exact / WIDTH - 1 <= found <= exact * WIDTH + 1


@given(DURATIONS)
def test_the_extremes_are_exact(durations):
    """The last quantile is the maximum, and a tool called once has its duration everywhere."""
    assert totals_of(durations).quantile(1.0) == max(0, *durations, 0)
    once = totals_of(durations[:1])
    assert {once.quantile(q) for q in (0, 0.5, 0.99, 1)} == {max(0, durations[0])}


def test_there_is_no_quantile_beyond_all_calls():
    """A share below none or above all is refused."""
    for q in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            Totals().quantile(q)


@given(DURATIONS, DURATIONS)
def test_merging_equals_counting_together(one, other):
    """Totals of two parts, merged, are the totals of the whole."""
    merged = totals_of(one, 1, 5)
    merged.aborted, merged.sampled_out = 2, 3
    part = totals_of(other, 2, 4)
    part.aborted, part.sampled_out = 10, 20
    merged.merge(part)
    together = totals_of(one + other, 3, 5)
    together.aborted, together.sampled_out = 12, 23
    assert merged == together


def test_merging_with_nothing_changes_nothing():
    """Empty totals are neutral on both sides."""
    found = totals_of([3, 4], 1, 7)
    found.merge(Totals())
    empty = Totals()
    empty.merge(found)
    assert found == empty == totals_of([3, 4], 1, 7)


@given(DURATIONS)
def test_totals_survive_the_journal(durations):
    """What msgpack writes it reads back, and every call is in one bucket."""
    found = totals_of(durations, 1, 1)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Totals) == found
    assert sum(found.histogram.values()) + found.zero_count == found.count == len(durations)


def test_nonsense_durations_stay_writable():
    """Times that no clock gives don't grow beyond what msgpack and a calendar can write."""
    found = totals_of([1 << 64, (1 << 64) - 1, -(1 << 64)], 0, 1 << 70)
    found.merge(totals_of([1 << 70]))
    msgspec.msgpack.encode(found)
    assert found.min_ns == 0
    assert plain(found.stats("t", 0, 0))["last_updated"].startswith("2262-")
    assert found.quantile(1.0) == found.max_ns


def test_an_empty_batch_counts_nothing():
    """No calls, no minimum, no time."""
    assert totals_of([], 0, 9) == Totals()


def test_statistics_have_the_promised_shape():
    """The keys of the contract, seconds as floats, the time in UTC with microseconds."""
    found = totals_of([1_000_000, 3_000_000], 1, 1_700_000_000_000_001_000)
    found.aborted, found.sampled_out = 4, 5
    assert plain(found.stats("t", current_size=2, max_size=100)) == {
        "tool": "t",
        "count": 2,
        "avg_duration_s": 0.002,
        "min_duration_s": 0.001,
        "max_duration_s": 0.003,
        "p50_s": pytest.approx(0.001, rel=0.05),
        "p95_s": 0.003,
        "p99_s": 0.003,
        "errors": 1,
        "aborted": 4,
        "sampled_out": 5,
        "current_size": 2,
        "max_size": 100,
        "last_updated": "2023-11-14T22:13:20.000001+00:00",
        "in_flight": 0,
        "complete": True,
        # (2 ** (-160/16), 2 ** (-159/16)] and (2 ** (-135/16), 2 ** (-134/16)] seconds.
        "histogram": {-160: 1, -135: 1},
        "estimated": True,
    }


def test_a_tool_without_calls_has_null_durations():
    """Nothing finished: a count of zero, and nulls where a figure is not known."""
    found = plain(Totals().stats("t", 0, -1))
    assert found["count"] == found["current_size"] == 0
    assert {found[key] for key in found if key.endswith("_s") or key == "last_updated"} == {None}


@given(st.lists(st.integers(-5, 1 << 45), max_size=60), DURATIONS)
def test_what_came_later_can_be_told_apart(before, later):
    """All totals less former ones are those of the rest, extremes within a bucket's width."""
    known = totals_of(before, errors=len(before) // 2)
    all_of_them = totals_of(before + later, errors=len(before) // 2 + 1, ended=7)
    found, exact = all_of_them.minus(known), totals_of(later, errors=1, ended=7)
    assert (found.count, found.errors, found.sum_ns, found.zero_count, found.histogram) == (
        exact.count,
        exact.errors,
        exact.sum_ns,
        exact.zero_count,
        exact.histogram,
    )
    assert found.min_ns <= exact.min_ns <= found.min_ns * WIDTH + 1
    assert found.max_ns / WIDTH - 1 <= exact.max_ns <= found.max_ns
    assert found.last_ended_ns == 7


def test_without_later_calls_nothing_is_left():
    """Neither extremes nor a time of the last."""
    found = totals_of([1, 2, 3], ended=5).minus(totals_of([1, 2, 3], ended=5))
    assert msgspec.structs.astuple(found) == msgspec.structs.astuple(Totals())


def test_bucket_beyond_the_last_is_refused() -> None:
    """A journal's frame may say anything: these bytes once made every later answer fail."""
    image = (
        b"\xde\x00\x03\xa7workers\x80\xa6totals\x81\xa4tool\x9a\x02\x01\x00\x00\xcd\x02\xc1\x05"
        b"\xcd\x02\xbc\x00\x82%\x01\xcd\xcc\x97\x01\t\xa6burieo\x91\xa1w"
    )
    ledger = Ledger(Options())
    found = upgraded(Recovered(None, [image], None, 1))
    assert "<= 530" in (ledger.restore(None, found.frames) or "")
    assert plain(ledger.stats(None, 0, complete=True))["total_calls"] == 0
    longest = Totals()
    longest.add([1 << 70], 0, 1)
    known = msgspec.msgpack.decode(msgspec.msgpack.encode(longest), type=Totals)
    assert known == longest
    assert known.quantile(0.5) is not None
