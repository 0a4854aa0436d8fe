"""What records mean: long ones, damaged ones, unknown ones."""

from __future__ import annotations

import json

import msgspec
import pytest

from shmperf.analysis.stats import plain
from shmperf.shm.memory import SHARED_MEMORY
from shmperf.shm.record import BESIDE, BLOCK, BODY_BYTES, DETAIL, PARTS, Outcome
from shmperf.shm.segment import FAULTS, LOSSES
from shmperf.testing import BegunCall, Room, assert_books_balance


@pytest.mark.parametrize("sealed", [False, True])
def test_long_records_are_put_together(room: Room, sealed: bool) -> None:
    """Parameters in several slots, in both store disciplines, come out as one record each."""
    worker = room.worker(slots=64, sealed=sealed)
    bodies = [{"n": "abc" * size} for size in (1, 60, 100, 500, 1200)]
    for params in bodies:
        worker.end_in_parts(worker.begin("all"), msgspec.msgpack.encode(params))
        room.turn()
    room.finish()
    shown = [line["p"] for line in room.lines("all")]
    assert shown == [json.dumps(params, separators=(",", ":"))[:200] for params in bodies]
    assert room.stats_on_disk()["faults"] == {}


def test_unfinished_long_record_waits_for_its_worker(room: Room) -> None:
    """Parts without their head are left in the ring; complete, they are one call."""
    worker = room.worker()
    call = worker.begin("all")
    worker.store_first_part(call)
    room.turn(3)
    assert room.stats()["in_flight"] == 1
    body = msgspec.msgpack.encode({"n": "y" * 300})
    first = BODY_BYTES - 2
    worker.store(call, (1, 0, 0), PARTS, body[first:])
    worker.end(call, b"\1\0" + body[:first], PARTS)
    room.finish()
    (line,) = room.lines("all")
    assert line["p"].startswith('{"n":"yyy')
    assert room.stats_on_disk()["total_calls"] == 1


def test_unfinished_long_record_of_a_dead_worker_is_aborted(room: Room) -> None:
    """Parts whose head never came leave an aborted call and nothing else."""
    worker = room.worker()
    before = worker.call("all")
    call = worker.begin("all")
    worker.store_first_part(call)
    room.turn(2)
    room.finish()
    assert {line["id"]: line.get("status") for line in room.lines("all")} == {
        before.hex: None,
        call.hex: "aborted",
    }


def test_parts_left_in_a_ring_that_was_replaced_hold_up_nothing(room: Room) -> None:
    """A record that was begun anew in another ring ends there; what lies behind its parts comes."""
    worker = room.worker()
    begun = worker.begin("all")
    worker.store_first_part(begun)
    behind = worker.call("all", 7)
    worker.end(begun._replace(tool="few"), msgspec.msgpack.encode({"n": 1}))
    room.turn(2)
    assert room.stats()["in_flight"] == 0
    room.finish()
    assert [line["id"] for line in room.lines("all")] == [behind.hex]
    assert [line["id"] for line in room.lines("few")] == [begun.hex]
    assert room.stats_on_disk()["faults"] == {}


def test_record_with_a_missing_part_counts_without_parameters(room: Room) -> None:
    """A call whose parameters are incomplete is finished, kept without them, and told."""
    worker = room.worker(slots=64)
    body = msgspec.msgpack.encode({"n": "z" * 1000})
    worker.end_in_parts(worker.begin("all"), body, without=2)
    worker.call("all", 7)
    room.finish()
    assert sorted(line["p"] for line in room.lines("all")) == ['{"n":7}', "{}"]
    assert room.stats_on_disk()["faults"] == {"incomplete_records": 1}


def test_blobs_are_read_and_removed(room: Room) -> None:
    """Parameters in memory of their own are kept whole, and the memory goes once journalled."""
    worker = room.worker()
    text = "long " * 100_000
    fields = ({"n": text}, None, None, None, None, None)
    call = worker.begin("all")
    blob = worker.segment.add_blob(msgspec.msgpack.encode(fields))
    assert blob is not None
    named = msgspec.msgpack.encode((blob, len(msgspec.msgpack.encode(fields))))
    worker.end(call, named, BLOCK | DETAIL)
    dropped = worker.end_in_blob(worker.begin("few"), msgspec.msgpack.encode({"n": 1}))
    assert (SHARED_MEMORY / blob).exists()
    room.turn(2)
    assert not (SHARED_MEMORY / blob).exists()
    assert not (SHARED_MEMORY / dropped).exists()
    room.finish()
    (line,) = room.lines("all")
    assert line["params"] == {"n": text}


def test_a_damaged_body_keeps_the_shape_of_its_mode(room: Room) -> None:
    """A call recorded in detail stays one, whatever has become of what it said."""
    worker = room.worker()
    worker.end(worker.begin("all"), b"\xc1", DETAIL)
    worker.end(worker.begin("all"), b"\xc1")
    room.finish()
    detailed, plain = room.lines("all")
    assert (detailed["params"], detailed["child_tools"], detailed["memory_mb"]) == ({}, [], None)
    assert plain["p"] == "{}"


@pytest.mark.parametrize("name", ["shmperf-000000000000.1", "../../etc/passwd", "", "x"])
def test_blob_of_a_strange_name_is_refused(room: Room, name: str) -> None:
    """A slot that names memory of somebody else costs its parameters, and removes nothing."""
    other = room.worker()
    victim = other.segment.add_blob(b"of somebody else")
    assert victim is not None
    worker = room.worker()
    blob = worker.end_in_blob(worker.begin("all"), b"x", name or victim)
    room.finish()
    (line,) = room.lines("all")
    assert line["p"] == "{}"
    assert room.stats_on_disk()["faults"] == {"body_damaged": 1}
    assert not (SHARED_MEMORY / blob).exists()


@pytest.mark.parametrize(
    "body", [b"\xc1", b"\xff" * 200, b"\x93\1\2\3", b"\x91" * 208, b"\xa5abc", b"\x80"]
)
@pytest.mark.parametrize("kind", [0, Outcome.ERROR, DETAIL, BLOCK, 0xFF, PARTS | BLOCK])
def test_damaged_body_costs_its_parameters_only(room: Room, body: bytes, kind: int) -> None:
    """A record whose body nobody can read is counted, keeps its times, and disturbs no other."""
    worker = room.worker()
    worker.call("all", 1)
    worker.end(worker.begin("all"), body, kind)
    worker.call("all", 2)
    stats = room.stats()
    assert stats["total_calls"] == 3
    assert "drain" not in stats["faults"]
    room.finish()
    assert len(room.lines("all")) == 3


def test_details_settle_before_they_are_written(room: Room) -> None:
    """In optimization mode a line names its children, their totals and its own time."""
    worker = room.worker()
    parent = worker.begin("all")
    children = [worker.call("few", n, parent.id) for n in range(2)]
    worker.end_in_detail(parent, {"password": "hidden", "x": [1, {"token": "t"}]})
    room.finish()
    (line,) = room.lines("all")
    assert line["child_tools"] == [child.hex for child in children]
    assert line["children"]["few"]["count"] == 2
    assert line["self_ms"] == pytest.approx(line["duration_ms"] - 0.002)
    assert line["params"] == {"password": "***", "x": [1, {"token": "***"}]}
    assert (line["error"], line["err"], line["status"]) == ("all of it", "ValueError", "error")
    assert line["metadata"] == {"seen": 1}


def test_child_of_a_worker_that_has_just_come_settles_with_its_parent(room: Room) -> None:
    """A parent that waited for a new process names its child, however soon both are drained."""
    first = room.worker()
    first.call("few")
    room.turn(3)
    parent = first.begin("all")
    child = room.worker().call("few", 1, parent.id)
    first.end_in_detail(parent, {"n": 2})
    for _ in range(3):
        # No time passes: nobody looks for workers because it is time to.
        room.collector.step()
    room.finish()
    assert [line["child_tools"] for line in room.lines("all")] == [[child.hex]]


def test_child_of_a_worker_that_has_just_come_settles_with_a_dead_parent(room: Room) -> None:
    """The last call of a worker that is dead names its child in another process, dead or alive."""
    first, second = room.worker(), room.worker()
    for worker in (first, second):
        worker.call("few")
    room.turn(3)
    parents = [first.begin("all"), second.begin("all")]
    children = [
        second.call("few", 1, parents[0].id),
        room.worker().call("few", 2, parents[1].id),
    ]
    for worker, parent in zip((first, second), parents, strict=True):
        worker.end_in_detail(parent, {"n": 2})
        worker.die()
    room.clock.now_s += 1
    room.collector.step()
    room.finish()
    found = {line["id"]: line["child_tools"] for line in room.lines("all")}
    assert found == {
        parent.hex: [child.hex] for parent, child in zip(parents, children, strict=True)
    }


@pytest.mark.parametrize("many", [1_000, 1_001])
def test_a_call_of_very_many_children_says_that_it_names_the_first(room: Room, many: int) -> None:
    """Beyond a thousand children their ids are cut, and the line tells; totals count them all."""
    worker = room.worker(slots=1_024)
    parent = worker.begin("all")
    children = [worker.call("few", n, parent.id).hex for n in range(many)]
    worker.end_in_detail(parent, {"n": 2})
    room.finish()
    (line,) = room.lines("all")
    assert line["child_tools"] == children[:1_000]
    assert line["children"]["few"]["count"] == many
    assert line.get("truncated", False) is (many > 1_000)


def test_worker_with_strange_numbers_disturbs_no_other(room: Room) -> None:
    """Records with ids, tools and times that can't be are refused or bounded, and counted."""
    worker, other = room.worker(), room.worker()
    good = worker.begin("all")
    foreign = BegunCall("all", good.row, 99 << 32 | 64, 0, 5)
    assert worker.store(foreign, (0, 5, 6), 0, b"")
    backwards = worker.begin("all")
    worker.store(backwards, (backwards.id, 1 << 63, 3), 0, b"")
    endless = worker.begin("all")
    worker.store(endless, ((1 << 64) - 1, 0, (1 << 64) - 1), 0, b"")
    worker.end(good)
    other.call("all")
    stats = room.stats()
    assert stats["total_calls"] == 4
    assert stats["faults"] == {"record_refused": 1}
    assert stats["tool_stats"]["all"]["min_duration_s"] == 0
    room.finish()
    assert len(room.lines("all")) == 4


@pytest.mark.parametrize("seed", range(20))
def test_memory_full_of_noise_stops_nothing(room: Room, seed: int) -> None:
    """Random bytes over a living worker's memory: the others are drained, and it can be buried."""
    import random

    noise = random.Random(seed)  # noqa: S311
    worker, other = room.worker(), room.worker()
    for n in range(5):
        worker.call("all", n)
    room.turn()
    size = 1 << 14
    for _ in range(20):
        at = noise.randrange(48, (6 << 20) + (8 << 10) + size)
        extents = [area + 4096 + at % size for area in (2 << 20, 6 << 20)]
        at = noise.choice((at, noise.randrange(48, 4096 + 512), *extents))
        worker.segment.buffer[at : at + 8] = noise.randbytes(8)
    other.call("few", 1)
    room.turn(3)
    worker.die()
    room.clock.now_s += 1
    room.turn(3)
    room.collector.settle()
    stats = plain(room.collector.ledger.stats(None, 1, complete=True))
    assert stats["tool_stats"]["few"]["count"] >= 1
    assert not (SHARED_MEMORY / worker.segment.name).exists()
    assert not room.collector.stopping


def test_figures_beyond_all_bounds_can_be_journalled(room: Room) -> None:
    """Counters and times that no clock or count can reach are bounded before they are summed."""
    worker = room.worker()
    for _ in range(8):
        opened = worker.begin("all")
        worker.store(opened, (0, (1 << 64) - 1, 0), Outcome.OK, b"")
        room.turn()
        opened = worker.begin("all")
        worker.store(opened, (0, 0, (1 << 64) - 1), Outcome.OK, b"")
    for at in [*range(32, 32 + len(LOSSES)), *range(64, 64 + len(FAULTS))]:
        worker.segment.words[at] = (1 << 64) - 1
    room.turn(3)
    worker.die()
    room.finish()
    stats = room.stats_on_disk()
    assert stats["total_calls"] == 16
    assert sum(stats["lost"].values()) == 1 << 41


def test_slots_of_an_unknown_kind_are_passed_over_by_count(room: Room) -> None:
    """What stands beside a call is no call, and what a later version may write costs no other."""
    worker = room.worker()
    worker.call("all", 1)
    opened = worker.begin("all")
    assert worker.store(opened, (0, 0, 0), BESIDE, b"\xc4\x10" + bytes(16))
    worker.end(opened)
    room.turn(3)
    stats = plain(room.collector.ledger.stats(None, 1, complete=True))
    assert stats["total_calls"] == 2
    assert stats["faults"]["record_refused"] == 1
    assert_books_balance(stats)


def test_tools_without_a_name_are_counted_together_and_the_first_are_told(room: Room) -> None:
    """Their calls are finished, kept and aborted under one name, also after a restart."""
    worker = room.worker()
    worker.call("named", 1)
    worker.nameless("job 50001")
    worker.nameless("job 50002")
    for n in range(3):
        worker.call("job 50001", n)
    worker.begin("job 50002")
    room.turn(2)
    room.kill()
    found = room.stats()
    assert {tool: row["count"] for tool, row in found["tool_stats"].items()} == {
        "named": 1,
        "tools beyond 1": 3,
    }
    assert found["nameless"] == {"tools beyond 1": ["job 50001", "job 50002"]}
    assert found["faults"] == {"no_name": 2}
    assert found["in_flight"] == 1
    room.finish()
    assert len(room.lines("tools beyond 1")) == 4
    found = room.stats_on_disk()
    assert found["aborted"] == 1
    assert found["tool_stats"]["tools beyond 1"]["aborted"] == 1
    assert found["nameless"] == {"tools beyond 1": ["job 50001", "job 50002"]}


def test_a_counter_that_goes_back_is_not_believed(room: Room) -> None:
    """What was counted stays, and nothing is counted twice when it comes forward again."""
    worker = room.worker()
    worker.leave_out("tool", 10)
    room.turn(3)
    place = worker._counters["tool"]
    for count, total in ((3, 10), (10, 10), (12, 12)):
        worker.segment.words[place] = count
        room.turn(3)
        stats = room.stats()
        assert (stats["total_calls"], stats["begun"], stats["in_flight"]) == (total, total, 0)


def test_calls_without_a_record_have_the_durations_of_those_with_one(room: Room) -> None:
    """Mean and percentiles stand for all; the books and a cleanup count them all."""
    worker = room.worker()
    for _ in range(5):
        worker.call("tool")
    worker.leave_out("tool", 95)
    room.turn(3)
    worker.call("tool")
    room.turn(3)
    row = room.stats()["tool_stats"]["tool"]
    assert (row["count"], row["sampled_out"], row["estimated"]) == (101, 95, True)
    assert row["avg_duration_s"] == pytest.approx(1e-6)
    room.collector.cleanup()
    worker.leave_out("tool", 2)
    room.turn(3)
    stats = room.stats()
    assert (stats["total_calls"], stats["begun"]) == (2, 2)
