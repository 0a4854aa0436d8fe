"""From samples of workers to alerts of kind memory."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from shmperf.analysis.alerts import Alert, Alerts
from shmperf.session.messages import WorkerStatus
from shmperf.testing import Room

from .lab import a_room

MIB = 1 << 20
# Of the worker that tests script; others are nowhere.
OURS = os.getpid()


@pytest.fixture
def room() -> Iterator[Room]:
    """A room in which all is timed by one clock."""
    config = "anomaly: {interval_seconds: 1}\ncollector: {sample_interval_seconds: 3600}\n"
    with a_room(config) as found:
        found.worker(slots=16)
        found.turn()
        yield found


def sample(room: Room, *sizes: dict[int, int]) -> None:
    """Samples a second apart, each the MiB of workers by pid."""
    for workers in sizes:
        room.wait(1.0)
        room.collector.parts.growing.note(
            [WorkerStatus(pid=pid, memory_bytes=size * MIB) for pid, size in workers.items()]
        )


def opened(room: Room) -> Alert | None:
    """The alert that is open."""
    room.turn(2)
    return room.collector.ledger.analyses.of(Alerts).open.get(("memory", None))


def test_workers_that_grow_are_one_alert(room: Room) -> None:
    """The fastest is told, with all others; over when they have stopped for long."""
    sample(room, *({7: 100 + n, OURS: 100 + 2 * n, 9: 100} for n in range(90)))
    alert = opened(room)
    assert alert is not None
    evidence = alert.evidence
    assert (evidence["pid"], evidence["pids"]) == (OURS, sorted([7, OURS]))
    assert evidence["to_bytes"] > evidence["from_bytes"] >= 100 * MIB
    assert evidence["mib_an_hour"] > 0
    sample(room, *[{7: 190, OURS: 280, 9: 100}] * 60)
    assert opened(room) is None


def test_over_when_the_worker_goes(room: Room) -> None:
    """Of what is gone nothing grows; a restart in between changes nothing."""
    sample(room, *({OURS: 100 + 2 * n} for n in range(90)))
    alert = opened(room)
    assert alert is not None
    room.kill(torn=True)
    room.wait(2.0)
    again = opened(room)
    assert again is not None
    assert again.id == alert.id
    for worker in room.workers:
        worker.die()
    room.wait(2.0)
    assert opened(room) is None


def test_switched_off_nothing_is_told(room: Room) -> None:
    """What grew before is not known when it is switched on again."""
    room.config.write_text("anomaly: {enabled: false}\n")
    room.wait(2.0)
    room.turn(6)
    sample(room, *({OURS: 100 + 2 * n} for n in range(90)))
    assert opened(room) is None
