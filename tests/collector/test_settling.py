"""When a call's children are known: after three looks, its own included, and not one less."""

from __future__ import annotations

import pytest

from shmperf.collector.drain import WorkerDrain
from shmperf.collector.settling import Settling
from shmperf.shm.record import Call, Outcome
from shmperf.storage.counters import WorkerState
from shmperf.testing import Room

CALL = Call("tool", 1, 9, 0, 5, 6, Outcome.OK, "{}")


def test_call_settles_with_the_second_pass_behind_its_own() -> None:
    """It waits for the pass in which it was drained and two more, of its own worker alone."""
    settling = Settling()
    settling.pass_done("w")
    settling.add(CALL.id, "w", settling.passes("w"))
    for _ in range(3):
        assert settling.settled([CALL]) == []
        settling.pass_done("other")
        assert settling.settled([CALL]) == []
        settling.pass_done("w")
    assert settling.settled([CALL]) == [CALL]


def test_call_that_is_noted_late_waits_for_what_is_left() -> None:
    """Decoded only at the next frame, it settles with the same pass as if noted at once."""
    for late in range(5):
        settling = Settling()
        for _ in range(late):
            settling.pass_done("w")
        settling.add(CALL.id, "w", 0)
        waited = 0
        while not settling.settled([CALL]):
            settling.pass_done("w")
            waited += 1
        assert waited == max(0, 3 - late)


def test_calls_of_a_worker_that_is_gone_wait_no_longer() -> None:
    """Nothing more can come of a worker that is forgotten; others go on waiting."""
    settling = Settling()
    settling.add(CALL.id, "w", 0)
    settling.add(2, "other", 0)
    settling.forget("w")
    assert settling.settled([CALL]) == [CALL]
    settling.forget("w")
    settling.pass_done("w")
    assert settling.passes("w") == 1


def test_worker_is_quiet_after_two_passes_without_a_record(room: Room) -> None:
    """Two passes behind the last record, neither one nor three, and again after each record."""
    worker = room.worker()
    for _ in range(2):
        worker.call("all")
        assert room.turn() == 1
        (drain,) = room.collector.workers.values()
        found = []
        for _ in range(3):
            found.append(drain.is_quiet())
            room.turn()
        assert found == [False, False, True]


def test_detailed_call_is_written_after_its_third_pass(room: Room) -> None:
    """Turn by turn, it is held back until its children are known, and no longer."""
    worker = room.worker()
    worker.end_in_detail(worker.begin("all"), {"n": 1})
    found = []
    for _ in range(4):
        room.turn()
        room.collector.flush()
        found.append(len(room.lines("all")))
    assert found == [0, 0, 1, 1]


def test_one_question_looks_as_often_as_it_takes_to_settle(room: Room) -> None:
    """What had ended when somebody asks is settled by the answer: three looks, not a fourth."""
    worker = room.worker()
    worker.end_in_detail(worker.begin("all"), {"n": 1})
    room.collector.settle()
    assert room.collector.parts.settling.passes(worker.segment.name) == 3
    room.collector.flush()
    assert len(room.lines("all")) == 1


def test_part_of_a_pass_is_no_pass(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a shared ring is read in parts nothing settles before every ring was looked at."""
    monkeypatch.setattr("shmperf.collector.drain._MOST_SHARED", 8)
    worker = room.worker()
    worker.nameless("one of many")
    for n in range(20):
        worker.call("one of many", n)
    found = []
    for _ in range(3):
        handled = room.turn()
        (drain,) = room.collector.workers.values()
        passes = room.collector.parts.settling.passes(drain.name)
        found.append((handled, drain.is_in_pass, passes))
    assert found == [(8, True, 0), (8, True, 0), (4, False, 1)]


def test_ring_is_released_once_half_of_it_is_read(room: Room) -> None:
    """Before it is time to journal: with the slot that makes it half, not with the one before."""
    worker = room.worker(slots=16)
    worker.call("all")
    room.turn(3)
    (drain,) = room.collector.workers.values()
    found = []
    for n in range(8):
        worker.call("all", n)
        room.collector.step()
        found.append(drain.has_news)
    assert found == [True] * 7 + [False]


@pytest.mark.parametrize(("count", "is_due"), [(7, False), (8, True)])
def test_ring_that_a_former_collector_had_read_is_released_as_soon(
    room: Room, count: int, is_due: bool
) -> None:
    """Half read, journalled, not released by one that was killed: its successor is due at once."""
    worker = room.worker(slots=16)
    for n in range(count):
        worker.call("all", n)
    former = WorkerDrain(worker.segment.name, None)
    former.run_pass(lambda *_: None)
    known = WorkerState(pid=former.pid, epoch=former.epoch, positions=former.positions())
    former.close()
    successor = WorkerDrain(worker.segment.name, known)
    assert successor.wants_release() == is_due
    successor.close()
