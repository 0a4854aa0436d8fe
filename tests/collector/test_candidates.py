"""Exemplars as a collector keeps them: what lines of history no longer show, through any kill."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from shmperf.analysis.exemplars import MOST, MOST_BELOW
from shmperf.shm.record import DETAIL, Outcome
from shmperf.storage.state import load
from shmperf.testing import BegunCall, Room, ScriptedWorker


def exemplars(room: Room) -> dict[str, dict[str, Any]]:
    """The file's lines, by id."""
    path = room.storage / "exemplars.jsonl"
    if not path.exists():
        return {}
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    found = {line["data"]["id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def on_disk(room: Room) -> dict[str, list[str]]:
    """What the journal holds, by id: of which kinds."""
    ledger, damage = load(room.storage, room.collector.options)
    assert damage is None
    return {f"{one.call.id:016x}": kinds for one, kinds in ledger.exemplars}


def lasting(room: Room, worker: ScriptedWorker, ticks: int, parent: int = 0) -> BegunCall:
    """A call of ``few`` that takes so many microseconds more than others."""
    call = worker.begin("few", parent)
    for _ in range(ticks):
        room.tick()
    worker.end(call, msgspec.msgpack.encode({"n": ticks}))
    return call


def failing(worker: ScriptedWorker, err: str = "KeyError") -> BegunCall:
    call = worker.begin("few")
    worker.end(call, msgspec.msgpack.encode(({"password": "s3cret"}, err)), Outcome.ERROR)
    return call


def test_the_slowest_calls_stay_when_history_has_let_them_go(room: Room) -> None:
    """Ten of a tool whose history keeps three, with what its line would have said."""
    worker = room.worker(slots=64)
    slow = [lasting(room, worker, 100 + n) for n in range(15)]
    for n in range(100):
        worker.call("few", n)
        room.turn()
    room.finish()
    found = exemplars(room)
    assert list(found) == [call.hex for call in slow[:4:-1]]
    for call in slow[5:]:
        line = found[call.hex]
        assert (line["tool"], line["kinds"], line["subtree"]) == ("few", ["slow"], [])
        assert line["data"].keys() == {"t", "p", "s", "e", "d", "id", "pid"}
    assert found[slow[-1].hex]["data"]["d"] == pytest.approx(115e-6)
    assert found.keys() == on_disk(room).keys()
    assert slow[-1].hex not in room.ids("few")


def test_the_latest_failed_calls_stay(room: Room) -> None:
    """Ten of them, errors and timeouts, whichever worker they ran in; secrets are masked."""
    one, other = room.worker(slots=64), room.worker(slots=64)
    failed = [failing((one, other)[n % 2]) for n in range(25)]
    for n in range(30):
        lasting(room, one, 50)
        call = other.begin("few")
        other.end(call, msgspec.msgpack.encode(({}, "CancelledError")), Outcome.CANCELLED)
        room.turn(n % 2)
    room.finish()
    found = exemplars(room)
    kept = {i for i, line in found.items() if "failed" in line["kinds"]}
    assert kept == {call.hex for call in failed[-MOST:]}
    assert {found[i]["data"]["p"] for i in kept} == {'{"password":"***"}'}
    assert {found[i]["data"]["err"] for i in kept} == {"KeyError"}


@pytest.mark.parametrize("kills", [0, 1])
def test_an_exemplar_has_what_lay_below_it(room: Room, kills: int) -> None:
    """Its children and theirs; what a collector that was killed had drained may be missing."""
    worker = room.worker(slots=64)
    outer = worker.begin("few")
    mid = worker.begin("mid", outer.id)
    leaves = [worker.call("leaf", n, mid.id) for n in range(3)]
    worker.end(mid)
    room.turn()
    for _ in range(kills):
        room.kill()
    last = worker.call("leaf", 9, outer.id)
    worker.end(outer)
    room.turn(4)
    room.collector.settle()
    room.collector.flush()
    line = exemplars(room)[outer.hex]
    shown = {row["id"]: row for row in line["subtree"]}
    assert len(shown) == len(line["subtree"])
    expected = {last.hex: outer.hex, mid.hex: outer.hex}
    expected |= {leaf.hex: mid.hex for leaf in leaves}
    assert {i: row["parent"] for i, row in shown.items()} == expected
    assert line.get("truncated", False) is bool(kills)
    row = shown[last.hex]
    assert (row["tool"], row["d"]) == ("leaf", pytest.approx(1e-6))
    assert line["data"]["s"] < row["s"] < line["data"]["e"]
    assert exemplars(room)[leaves[0].hex]["subtree"] == []


def test_a_subtree_goes_through_processes(room: Room) -> None:
    """Children that ran in another worker lie below their parent all the same."""
    here, there = room.worker(slots=64), room.worker(slots=64)
    outer = here.begin("few")
    child = there.begin("all", outer.id)
    leaf = there.call("leaf", 1, child.id)
    there.end(child)
    here.end(outer)
    room.turn(4)
    room.finish()
    line = exemplars(room)[outer.hex]
    assert [row["id"] for row in line["subtree"]] == [child.hex, leaf.hex]
    assert "truncated" not in line


def test_a_large_subtree_is_cut_and_says_so(room: Room) -> None:
    """Two hundred calls of it, the nearest and earliest."""
    worker = room.worker(slots=1024)
    outer = worker.begin("few")
    children = [worker.call("leaf", n, outer.id) for n in range(300)]
    worker.end(outer)
    room.finish()
    line = exemplars(room)[outer.hex]
    assert [row["id"] for row in line["subtree"]] == [c.hex for c in children[:MOST_BELOW]]
    assert line["truncated"] is True


def test_a_detailed_exemplar_names_its_children(room: Room) -> None:
    """Its ``data`` is that of its line of history, once it has settled."""
    worker = room.worker(slots=64)
    outer = worker.begin("all", in_detail=True)
    child = worker.call("leaf", 1, outer.id)
    worker.end_in_detail(outer, {"n": 1, "token": "s3cret"})
    room.turn(4)
    room.finish()
    (line,) = room.lines("all")
    found = exemplars(room)[outer.hex]
    assert found["data"] == line
    assert line["child_tools"] == [child.hex]
    assert found["data"]["params"] == {"n": 1, "token": "***"}
    assert found["kinds"] == ["slow", "failed"]


def test_kills_of_the_collector_cost_no_exemplar(room: Room) -> None:
    """They are journalled with the records they are of, and found again in frame and snapshot."""
    worker = room.worker(slots=64)
    slow = []
    for n in range(12):
        slow.append(lasting(room, worker, 100 + n))
        failed = failing(worker)
        room.turn()
        for _ in range(4):
            worker.call("few", n)
        room.turn(n % 3)
        room.kill(torn=n % 2 == 1)
    room.kill()
    found = on_disk(room)
    assert {i for i, kinds in found.items() if "slow" in kinds} == {c.hex for c in slow[2:]}
    assert "failed" in found[failed.hex]
    room.finish()
    assert exemplars(room).keys() == found.keys() == on_disk(room).keys()


def test_a_cleanup_forgets_exemplars_and_their_file(room: Room) -> None:
    """Also when the collector is killed before it has removed the file."""
    room.storage.mkdir(exist_ok=True)
    (room.storage / "exemplars.jsonl").write_text("left over\n")
    room.kill()
    assert not (room.storage / "exemplars.jsonl").exists()
    worker = room.worker()
    lasting(room, worker, 10)
    room.collector.settle()
    room.collector.flush()
    assert exemplars(room)
    room.collector.cleanup()
    assert not (room.storage / "exemplars.jsonl").exists()
    assert on_disk(room) == {}
    again = lasting(room, worker, 5)
    room.finish()
    assert exemplars(room).keys() == {again.hex}


def test_a_file_that_cannot_be_written_stops_nothing(room: Room) -> None:
    """Something else in its place is told and left alone; history and journal go on."""
    room.storage.mkdir(exist_ok=True)
    (room.storage / "exemplars.jsonl").mkdir()
    (room.storage / "exemplars.jsonl/mine").touch()
    worker = room.worker()
    call = worker.call("few")
    room.finish()
    assert room.ids("few") == {call.hex: 1}
    assert on_disk(room) == {call.hex: ["slow"]}
    assert room.stats_on_disk()["faults"] == {}
    assert "exemplars_failed" in room.collector.parts.faults.told
    assert (room.storage / "exemplars.jsonl/mine").exists()
    assert not list(room.storage.glob(".exemplars*"))


def test_a_tool_that_is_not_recorded_has_no_exemplars(room: Room) -> None:
    """Limit 0 is outside of everything."""
    room.config.write_text("tool_limits: {all: -1, few: 0}\n")
    room.clock.now_s += 2
    room.turn(2)
    worker = room.worker()
    lasting(room, worker, 10)
    kept = worker.call("all")
    room.finish()
    assert exemplars(room).keys() == {kept.hex}


def test_only_candidates_are_decoded(room: Room) -> None:
    """Of a thousand calls no slower than ten before them, none but those kept is looked into."""
    worker = room.worker(slots=1024)
    for _ in range(10):
        lasting(room, worker, 20)
    room.turn()
    decoded = []
    decode = room.collector.parts.bodies.call_in
    room.collector.parts.bodies.call_in = lambda *a, **k: decoded.append(a) or decode(*a, **k)  # type: ignore[method-assign, func-returns-value]
    for n in range(1000):
        worker.call("few", n)
    room.turn(2)
    assert len(decoded) == 3


def test_records_in_detail_count_as_failed_by_their_outcome(room: Room) -> None:
    """The mode is no outcome."""
    worker = room.worker()
    fine = worker.begin("few")
    fields = ({"n": 1}, None, None, None, None, None)
    worker.end(fine, msgspec.msgpack.encode(fields), DETAIL)
    room.finish()
    assert exemplars(room)[fine.hex]["kinds"] == ["slow"]
