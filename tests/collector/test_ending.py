"""When a session that keeps itself is over: to the moment, by a clock of the test's own."""

from __future__ import annotations

from shmperf.collector.ending import Ending
from shmperf.testing import Clock


def test_a_session_is_over_when_nobody_was_there_for_so_long() -> None:
    """At that moment and not before; whoever is there makes it begin anew."""
    clock = Clock(0.0)
    ending = Ending(0.5, 10.0, clock)
    for _ in range(2):
        assert not ending.is_near(is_wanted=True)
        clock.now_s += 9.0
        found = []
        for _ in range(3):
            found.append(ending.is_near(is_wanted=False))
            clock.now_s += 0.25
        assert found == [False, False, True]


def test_a_disk_has_its_time_to_come_back() -> None:
    """Patience begins with the first look, ends to the moment, and begins anew with a visitor."""
    clock = Clock(0.0)
    ending = Ending(0.5, 10.0, clock)
    for _ in range(2):
        ending.is_near(is_wanted=True)
        found = []
        for _ in range(3):
            found.append(ending.is_patience_over())
            clock.now_s += 5.0
        assert found == [False, False, True]
