"""When each part of the cycle has its turn, and what filling rings leave of its wait."""

from __future__ import annotations

from shmperf.collector.pace import Due, Lag, Pressure, Thrift, pressure_of
from shmperf.testing import Clock


def test_a_turn_comes_once_an_interval_and_at_its_very_end() -> None:
    """What is due every second is due after exactly one, and not twice at the same moment."""
    clock = Clock(100.0)
    due = Due(clock)
    assert due("look", 1.0)
    assert not due("look", 1.0)
    clock.now_s += 0.75
    assert not due("look", 1.0)
    clock.now_s += 0.25
    assert due("look", 1.0)
    assert not due("look", 1.0)


def test_what_was_put_off_waits_for_its_whole_interval() -> None:
    """A turn taken elsewhere counts, and others are not put off by it."""
    clock = Clock(100.0)
    due = Due(clock)
    due.put_off("commit", 2.0)
    assert not due("commit", 2.0)
    assert due("flush", 2.0)
    clock.now_s += 2.0
    assert due("commit", 2.0)


def test_who_rings_leaves_less_of_the_wait_than_what_a_look_finds() -> None:
    """A bell means half a ring in one wait; a fourth of a large one is found by looking."""
    assert pressure_of(has_rung=True, fills=True) is Pressure.MUCH
    assert pressure_of(has_rung=True, fills=False) is Pressure.MUCH
    assert pressure_of(has_rung=False, fills=True) is Pressure.SOME
    assert pressure_of(has_rung=False, fills=False) is Pressure.NONE
    assert Pressure.MUCH < Pressure.SOME < Pressure.NONE


def test_the_lag_is_the_longest_wait_of_late() -> None:
    """Also one that goes on; what was long ago is forgotten."""
    clock = Clock(100.0)
    lag = Lag(clock, window_s=10.0)
    clock.now_s += 2.0
    assert lag.longest_s == 2.0
    lag.look()
    clock.now_s += 0.5
    lag.look()
    assert lag.longest_s == 2.0
    for _ in range(50):
        clock.now_s += 0.5
        lag.look()
    assert lag.longest_s == 0.5


def test_many_small_batches_make_the_next_pass_wait_until_they_are_worth_it() -> None:
    """A second of them is too little by half, so the next pass is two seconds later, at most."""
    clock = Clock(100.0)
    thrift = Thrift(clock, longest_s=3.0)
    assert thrift.is_due()
    clock.now_s += 1.0
    thrift.note(records=200 * 8, batches=200)
    assert not thrift.is_due()
    clock.now_s += 2.0
    assert thrift.is_due()
    thrift.note(records=200, batches=200)
    clock.now_s += 2.75
    assert not thrift.is_due()
    clock.now_s += 0.25
    assert thrift.is_due()


def test_few_batches_large_ones_and_none_are_waited_for_by_nobody() -> None:
    """It is many small ones that cost more than what is in them."""
    clock = Clock(100.0)
    thrift = Thrift(clock, longest_s=3.0)
    for records, batches in ((1, 1), (31, 31), (200 * 16, 200), (0, 0), (0, 200)):
        clock.now_s += 1.0
        thrift.note(records, batches)
        assert thrift.is_due()
