"""Two publishers under one name: both say so, and neither says so of one that has gone."""

from __future__ import annotations

import pytest

from shmperf.fleet.engine import Away
from shmperf.fleet.presence import Presence
from shmperf.session.messages import SidecarReport

from .broker import Broker, needs_broker

needs_broker()

REPORT = SidecarReport()
MINE, THEIRS = bytes(16), bytes(range(16))


class Clock:
    """A moment that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_two_of_one_name_tell_each_other(broker: Broker) -> None:
    """Whether it is a copy or another storage; once one has gone, the other one is content."""
    engine, clock = broker.connect(), Clock()
    engine.open()
    first = Presence(engine, "node", MINE, clock)
    copied, other = (Presence(engine, "node", origin, clock) for origin in (MINE, THEIRS))
    for _ in range(3):
        first.step(REPORT)
        clock.now_s += 5.0
    assert first.problem is None
    for double, what in ((copied, "a copy of this storage"), (other, "another storage")):
        double.step(REPORT)
        # Who comes takes the name over; who has it notices at its next turn.
        first.step(REPORT)
        assert first.problem == f"two nodes are called 'node': {what} is published, too"
        clock.now_s += 5.0
        double.step(REPORT)
        assert double.problem is not None
    assert (first.doubles, copied.doubles, other.doubles) == (2, 1, 1)
    for _ in range(6):
        first.step(REPORT)
        clock.now_s += 5.0
    assert first.problem is None


def test_a_publisher_that_comes_again_is_no_double(broker: Broker) -> None:
    """Nor is one whose answer was lost with the server, or whose broker has forgotten it."""
    engine, clock = broker.connect(), Clock()
    engine.open()
    for _ in range(3):
        one = Presence(engine, "node", MINE, clock)
        one.step(REPORT)
        clock.now_s += 5.0
    broker.kill()
    with pytest.raises(Away):
        one.step(REPORT)
    broker.start()
    engine = broker.connect()
    engine.delete("presence", "node")
    clock.now_s += 5.0
    again = Presence(engine, "node", MINE, clock)
    again.step(REPORT)
    assert one.problem is None
    assert again.problem is None
