"""What is told of the calls that are open."""

from __future__ import annotations

import json

import msgspec

from shmperf.collector.opened import open_calls
from shmperf.session.messages import OpenCallAnswer
from shmperf.shm.board import BoardWriter, Shown
from shmperf.shm.record import NAMED
from shmperf.shm.remote import Remote
from shmperf.testing import BegunCall, Room, ScriptedWorker


def opened(room: Room) -> dict[str, OpenCallAnswer]:
    """The open calls by tool, after the books have balanced."""
    room.turn()
    room.stats()
    return {call.tool: call for call in open_calls(room.collector.parts)}


def test_callers_are_named_across_processes(room: Room) -> None:
    """From the outermost one down, whichever worker they run in; a root has none."""
    one, other = room.worker(), room.worker()
    outer = one.begin("outer")
    middle = one.begin("middle", outer.id)
    inner = other.begin("inner", middle.id)
    found = opened(room)
    chains = {tool: call.chain for tool, call in found.items()}
    assert chains == {"outer": [], "middle": ["outer"], "inner": ["outer", "middle"]}
    assert found["inner"].parent == middle.hex
    for call, worker in ((inner, other), (middle, one), (outer, one)):
        worker.end(call)
    assert opened(room) == {}


def test_a_caller_that_has_ended_ends_the_chain(room: Room) -> None:
    """What outlives its caller names no call that is not open; nor does a foreign span's call."""
    worker = room.worker()
    outer = worker.begin("outer")
    worker.begin("task", outer.id)
    worker.end(outer)
    worker.begin("asked", worker.take_up(Remote(b"t" * 16, b"s" * 8)))
    found = opened(room)
    assert (found["task"].chain, found["asked"].chain) == ([], [])
    assert found["asked"].parent is None


def test_a_chain_without_end_is_cut(room: Room) -> None:
    """Rows are not believed: calls that name each other as callers have 32 at most."""
    worker = room.worker()
    first = worker.begin("a")
    second = worker.begin("b", first.id)
    worker.segment.words[first.row + 2] = second.id
    depth = worker.begin("deep", second.id)
    for _ in range(40):
        depth = worker.begin("deep", depth.id)
    lengths = [len(call.chain) for call in opened(room).values()]
    assert lengths == [32, 32, 32]


def show(worker: ScriptedWorker, *written: tuple[BegunCall, int, bytes]) -> None:
    """Let calls of *worker* show these bodies, as their own process would."""
    writer = BoardWriter(worker.segment.buffer)
    worker.segment.extend(writer)
    for call, kind, body in written:
        writer.write(next(writer.free), call.id, Shown(kind, body))


def test_parameters_are_named_and_masked_as_in_the_history(room: Room) -> None:
    """By the names of the tool's line, and by those that the call has given itself."""
    worker = room.worker()
    worker.add_tool("search", ("query", "api_key"))
    plain, named = worker.begin("search"), worker.begin("other")
    show(
        worker,
        (plain, 0, msgspec.msgpack.encode(["why", "k-1"])),
        (named, NAMED, msgspec.msgpack.encode([[1], {"deep": {"token": "t"}}])),
    )
    found = opened(room)
    assert found["search"].params is not None
    assert json.loads(found["search"].params) == {"query": "why", "api_key": "***"}
    assert found["other"].params is not None
    assert json.loads(found["other"].params) == {"n": 1, "deep": {"token": "***"}}


def test_what_a_worker_shows_is_not_believed(room: Room) -> None:
    """Bodies that are no parameters, kinds that no record has: the call is there without."""
    worker = room.worker()
    calls = [worker.begin(f"t{number}") for number in range(5)]
    bodies = [
        (0, b"\xc1"),
        (0xFFFF, msgspec.msgpack.encode([1])),
        (NAMED, b"\x91" * 400 + b"\x01"),
        (0, b""),
        (0, msgspec.msgpack.encode("text alone")),
    ]
    show(worker, *((call, *body) for call, body in zip(calls, bodies, strict=True)))
    found = opened(room)
    texts = [found[f"t{number}"].params for number in range(5)]
    assert texts[0] is texts[2] is None
    assert texts[1] == '{"n":1}'
    assert texts[3:] == ["{}", '{"value":"text alone"}']
    for call in calls:
        worker.end(call)
    assert opened(room) == {}
