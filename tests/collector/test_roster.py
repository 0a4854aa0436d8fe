"""Workers that die, at any point, and what is left of their calls."""

from __future__ import annotations

import json

import msgspec
import pytest

from shmperf.collector.drain import WorkerDrain
from shmperf.errors import SegmentGone
from shmperf.session.presence import Identity
from shmperf.shm.memory import SHARED_MEMORY, remove_memory
from shmperf.shm.record import Outcome
from shmperf.shm.segment import Fault
from shmperf.testing import Room, assert_books_balance
from tests.support import Place


def test_open_calls_of_the_dead_are_aborted_with_their_parents(room: Room) -> None:
    """Every call that was open, nested ones too, becomes one aborted line; the memory goes."""
    worker = room.worker()
    outer = worker.begin("all")
    inner = worker.begin("all", outer.id)
    done = worker.call("all", 1, inner.id)
    worker.die()
    room.clock.now_s += 1
    room.turn(3)
    assert not (SHARED_MEMORY / worker.segment.name).exists()
    assert not worker.presence.exists()
    stats = room.stats()
    assert (stats["begun"], stats["total_calls"], stats["aborted"]) == (3, 1, 2)
    assert stats["tool_stats"]["all"]["avg_duration_s"] == pytest.approx(1e-6)
    room.finish()
    lines = {line["id"]: line for line in room.lines("all")}
    assert lines[done.hex].get("status") is None
    assert lines[done.hex]["parent"] == inner.hex
    assert lines[inner.hex]["parent"] == outer.hex
    for call in (outer, inner):
        assert lines[call.hex]["status"] == "aborted"
        assert lines[call.hex]["e"] is lines[call.hex]["d"] is None


DETAILED_KEYS = {
    *("tool", "params", "start", "end", "duration_ms", "memory_mb", "cpu_percent"),
    *("parent_tool", "child_tools", "error", "metadata", "id", "pid"),
}


@pytest.mark.parametrize("kills", [0, 1])
def test_an_aborted_call_has_the_shape_of_its_mode(room: Room, kills: int) -> None:
    """Recorded in detail it names the children that it had by then; a normal line stays one."""
    worker = room.worker(slots=64)
    outer = worker.begin("all", in_detail=True)
    children = [worker.call("few", n, outer.id).hex for n in range(20)]
    plain = worker.begin("all", outer.id)
    room.turn(3)
    for _ in range(kills):
        room.kill()
    worker.die()
    room.clock.now_s += 1
    room.turn(3)
    room.finish()
    lines = {line["id"]: line for line in room.lines("all")}
    shown = lines[outer.hex]
    assert shown.keys() >= DETAILED_KEYS
    assert (shown["status"], shown["end"], shown["duration_ms"]) == ("aborted", None, None)
    assert (shown["params"], shown["metadata"], shown["error"]) == ({}, {}, None)
    assert shown["child_tools"] == children
    assert shown["children"] == {"few": {"count": 20, "total_ms": pytest.approx(0.02)}}
    assert lines[plain.hex].keys() >= {"t", "p", "s", "e", "d", "id", "pid", "parent", "status"}
    assert json.loads(lines[plain.hex]["p"]) == {}


def test_worker_found_before_it_has_rows_is_read_when_it_calls(room: Room) -> None:
    """Rows that come long after their worker are looked at, with nobody asking for anything."""
    worker = room.worker()
    room.turn(5)
    worker.ready = worker.segment.add_rows(worker.session.next_blocks(1)) or []
    worker.call("all", 1)
    assert room.turn() == 1


def test_hole_is_kept_while_its_worker_lives_and_passed_when_it_is_dead(room: Room) -> None:
    """A slot taken and never stored stops the ring, not the collector; it is counted at burial."""
    worker = room.worker()
    worker.call("all", 0)
    hole = worker.begin("all")
    worker.take_position("all")
    for n in (1, 2, 3):
        worker.call("all", n)
    other = room.worker()
    other.call("all", 4)
    room.turn(3)
    assert room.stats()["tool_stats"]["all"]["count"] == 2
    assert room.stats()["in_flight"] == 4
    worker.die()
    room.clock.now_s += 1
    room.turn(2)
    stats = room.stats()
    assert stats["tool_stats"]["all"]["count"] == 5
    assert stats["aborted"] == 1
    assert stats["faults"] == {"holes": 1}
    room.finish()
    assert room.ids("all")[hole.hex] == 1


def test_lost_calls_are_counted_by_cause_and_never_aborted_too(room: Room) -> None:
    """A full ring loses the newest calls; the books balance before and after the worker's death."""
    worker = room.worker(slots=4)
    for n in range(10):
        worker.call("all", n)
    stats = room.stats()
    assert (stats["total_calls"], stats["lost"]) == (4, {"ring_full": 6})
    worker.call("all", 11)
    worker.die()
    room.finish()
    stats = room.stats_on_disk()
    assert (stats["total_calls"], stats["lost"], stats["aborted"]) == (5, {"ring_full": 6}, 0)


def test_overwritten_records_of_a_dead_worker_are_lost_and_not_in_flight(room: Room) -> None:
    """A call that began, ended and left no record is lost by count once its worker is dead."""
    worker = room.worker()
    for n in range(3):
        worker.call("all", n)
        # As when a fork without a hook stored its own record over this one.
        worker.ready.append(worker.begin("all").row)
    room.turn(2)
    worker.call("all", 3)
    worker.die()
    room.finish()
    stats = room.stats_on_disk()
    assert_books_balance(stats)
    assert (stats["begun"], stats["total_calls"], stats["in_flight"]) == (7, 4, 0)
    assert stats["lost"] == stats["faults"] == {"spoilt_records": 3}


def test_copied_records_of_a_dead_worker_balance(room: Room) -> None:
    """Calls that two processes stored under one row count as begun as often as they are there."""
    worker = room.worker()
    opened = worker.begin("all")
    for _ in range(3):
        worker.store(opened, (0, opened.start_ns, room.tick()), Outcome.OK, b"")
    worker.die()
    room.finish()
    stats = room.stats_on_disk()
    assert_books_balance(stats)
    assert (stats["begun"], stats["total_calls"]) == (3, 3)
    assert stats["faults"] == {"spoilt_records": 2}


def test_worker_whose_memory_has_gone_loses_what_was_unread(room: Room) -> None:
    """Memory that somebody removed is told once; what had begun there is counted as lost."""
    worker = room.worker()
    worker.call("all", 1)
    opened = worker.begin("all")
    room.turn(2)
    room.stats()
    remove_memory(worker.segment.name, None)
    room.kill()
    worker.die()
    room.clock.now_s += 1
    room.turn(3)
    stats = room.stats()
    assert stats["total_calls"] == 1
    assert stats["lost"] == {"segment_gone": 1}
    assert stats["faults"] == {"segment_gone": 1}
    assert opened.id
    assert not worker.presence.exists()


def test_memory_that_can_not_be_mapped_now_waits(place: Place) -> None:
    """A collector short of descriptors buries no dead worker unread: it reads it later."""
    said = json.loads(place.run_program("roster/short_of_descriptors"))
    stats = said["stats"]
    assert said["waits"]
    assert (stats["begun"], stats["total_calls"]) == (3, 3)
    assert "segment_waits" in stats["faults"]
    assert not {"segment_gone", "segment_refused"} & stats["faults"].keys()
    assert said["is_buried"]


def test_what_can_not_be_mapped_is_told_by_every_answer(place: Place) -> None:
    """Nothing is flushed or complete while a worker can't be read; it and its calls are counted."""
    said = json.loads(place.run_program("roster/short_of_memory"))
    short, whole = said["short"], said["whole"]
    assert short["flushed"] is False
    assert "can't be read: 1" in short["reason"]
    assert (short["stats"]["total_calls"], short["stats"]["complete"]) == (1, False)
    assert (short["one"]["complete"], short["figures"]) == (False, False)
    for found in (short["stats"]["unattached"], short["status"]["unattached"]):
        assert (found["workers"], found["calls"]) == (1, 3)
        assert "memory" in found["reason"]
    assert short["stats"]["faults"] == {"segment_waits": 1}
    assert whole["flushed"] is True
    assert (whole["stats"]["total_calls"], whole["stats"]["complete"]) == (4, True)
    assert whole["stats"]["unattached"]["workers"] == 0


def test_drain_of_missing_memory_says_so(room: Room) -> None:
    """Nothing to attach to is SegmentGone, not an empty worker."""
    with pytest.raises(SegmentGone):
        WorkerDrain("shmperf-000000000000", None)


def test_faults_of_workers_are_summed(room: Room) -> None:
    """What workers count stays counted after they are gone and after a restart."""
    for _ in range(2):
        worker = room.worker()
        worker.call("all")
        worker.segment.count_fault(Fault.REPR_FAILED)
    room.turn(2)
    room.kill()
    room.finish()
    assert room.stats_on_disk()["faults"] == {"repr_failed": 2}


def test_workers_of_whom_nothing_is_left_stay_in_flight_no_longer(room: Room) -> None:
    """Memory and presence gone, whoever removed them: what the journal knows is settled by it."""
    worker, other = room.worker(), room.worker()
    for n in range(3):
        worker.call("all", n)
    worker.begin("all")
    other.call("few")
    room.turn(2)
    worker.die()
    worker.presence.unlink()
    remove_memory(worker.segment.name, room.directory)
    room.kill()
    room.clock.now_s += 1
    room.turn(2)
    stats = room.stats()
    assert (stats["begun"], stats["total_calls"], stats["in_flight"]) == (5, 4, 0)
    assert stats["lost"] == {"segment_gone": 1}
    assert stats["faults"] == {"segment_gone": 1}
    room.kill()
    room.turn(2)
    assert room.stats()["lost"] == {"segment_gone": 1}
    assert not room.collector.ledger.state.buried
    room.finish()
    assert room.stats_on_disk()["in_flight"] == 0


def test_a_worker_whose_memory_is_there_is_not_given_up(room: Room) -> None:
    """A presence that somebody removed says nothing: its calls stay in flight, and its memory."""
    worker = room.worker()
    worker.call("all")
    worker.begin("all")
    room.turn(2)
    worker.presence.unlink()
    room.kill()
    room.clock.now_s += 1
    room.turn(2)
    assert room.stats()["in_flight"] == 1
    assert (SHARED_MEMORY / worker.segment.name).exists()


def test_a_pid_of_another_namespace_is_nobody_here(room: Room) -> None:
    """Only processes that are seen from here are sampled; the others are listed all the same."""
    workers = [room.worker(), room.worker()]
    here = Identity.of_this_process()
    elsewhere = msgspec.structs.replace(here, namespace=here.namespace + 1)
    for worker, identity in zip(workers, (here, elsewhere), strict=True):
        worker.presence.write_bytes(msgspec.msgpack.encode(identity))
    room.turn()
    roster = room.collector.roster
    assert len(roster.pids()) == 2
    assert roster.seen_pids() == [here.pid]
