"""Leases: one holder a partition, fair shares, and epochs that only grow; over a real server."""

from __future__ import annotations

import pytest

from shmperf.fleet.leases import LEASE_S, Leases
from shmperf.testing import Clock

from .broker import Broker, needs_broker

needs_broker()

PARTITIONS = 6


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(broker: Broker, clock: Clock, place: str = "place") -> Leases:
    engine = broker.connect()
    engine.open()
    return Leases(engine, place, PARTITIONS, clock)


def held(*leases: Leases) -> list[int]:
    return sorted(partition for one in leases for partition in one.held())


def test_one_alone_holds_all(broker: Broker, clock: Clock) -> None:
    """Each partition, under its first epoch."""
    first = make(broker, clock)
    first.step()
    assert first.held() == dict.fromkeys(range(PARTITIONS), 1)
    assert first.is_covered()


def test_each_has_its_share(broker: Broker, clock: Clock) -> None:
    """Who comes gets what the others let go, and nothing is held twice."""
    every = [make(broker, clock) for _ in range(4)]
    for count in range(1, 5):
        for _ in range(3):
            for one in every[:count]:
                one.step()
            assert len(held(*every)) == len(set(held(*every)))
        assert held(*every) == list(range(PARTITIONS))
        share = -(-PARTITIONS // count)
        assert max(len(one.held()) for one in every) <= share
    for one in every[1:]:
        one.close()
    clock.now_s += 0.1
    every[0].step()
    assert len(every[0].held()) < PARTITIONS
    clock.now_s += LEASE_S
    every[0].step()
    assert held(every[0]) == list(range(PARTITIONS))


def test_who_is_silent_loses_what_it_has(broker: Broker, clock: Clock) -> None:
    """After the lease, to an epoch of the other's; and it learns so at its next beat."""
    first, second = make(broker, clock), make(broker, clock)
    first.step()
    second.step()
    assert not second.held()
    assert not second.is_covered()  # it has seen nobody beat
    clock.now_s += LEASE_S - 0.1
    second.step()
    assert not second.held()
    clock.now_s += 0.1
    second.step()
    assert second.held() == dict.fromkeys(range(PARTITIONS), 2)
    first.step()
    assert not first.held()
    second.step()
    assert len(second.held()) == PARTITIONS // 2
    first.step()
    assert len(first.held()) == PARTITIONS // 2
    assert set(first.held().values()) == {3}


def test_places_are_apart(broker: Broker, clock: Clock) -> None:
    """Who collects into another place holds all of it."""
    one, other = make(broker, clock, "one"), make(broker, clock, "other")
    one.step()
    other.step()
    assert held(one) == held(other) == list(range(PARTITIONS))


def test_an_epoch_can_be_raised_by_its_holder_alone(broker: Broker, clock: Clock) -> None:
    """Where what lies in the place is older than the leases."""
    first, second = make(broker, clock), make(broker, clock)
    first.step()
    assert first.raise_epoch(2, 40)
    assert first.held()[2] == 40
    first.let_go(2)
    second.step()
    assert second.held()[2] == 41
    clock.now_s += LEASE_S
    second.step()
    assert not first.raise_epoch(3, 50)
    assert 3 not in first.held()


def test_foreign_values_and_an_emptied_bucket_are_survived(broker: Broker, clock: Clock) -> None:
    """Somebody else's key is nobody's lease; a bucket that began anew is looked at anew."""
    first = make(broker, clock)
    engine = broker.connect()
    engine.put("leases", "place.p01", b"\xc1nonsense")
    engine.put("leases", "place.member.x", b"")
    first.step()
    clock.now_s += LEASE_S
    first.step()
    assert held(first) == list(range(PARTITIONS))
    broker.purge("KV_shmperf_leases")
    for _ in range(3):
        clock.now_s += LEASE_S
        first.step()
    assert held(first) == list(range(PARTITIONS))
