"""Calls that somebody else's span has led to: roots here, of a trace that began elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shmperf.shm.inflight import row_key
from shmperf.shm.remote import PLACES, Remote
from shmperf.testing import Room, ScriptedWorker

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REMOTE = Remote(bytes.fromhex(TRACE), bytes.fromhex(SPAN))


def nested(worker: ScriptedWorker, parent: int, child: ScriptedWorker | None = None) -> None:
    """A call under *parent*, and one beneath it, in another worker perhaps."""
    outer = worker.begin("outer", parent)
    (child or worker).call("inner", 1, outer.id)
    worker.end(outer)


def remotes(room: Room, tool: str) -> list[str | None]:
    return [line.get("remote") for line in room.lines(tool)]


def test_a_root_names_its_parent_elsewhere_and_all_beneath_the_trace(room: Room) -> None:
    """What stands for the context is nobody's parent: neither in lines nor in the call graph."""
    worker = room.worker()
    nested(worker, worker.take_up(REMOTE))
    nested(worker, 0)
    room.turn(3)
    tree = room.collector.ledger.tree
    edges = {(edge.parent, edge.tool): edge.calls for edge in tree.graph({})}
    assert edges == {(None, "outer"): 2, ("outer", "inner"): 2}
    room.finish()
    (outer, plain), (inner, _) = room.lines("outer"), room.lines("inner")
    assert outer["remote"] == f"{TRACE}-{SPAN}"
    assert inner["remote"] == TRACE
    assert "parent" not in outer
    assert "trace" not in outer
    assert inner["parent"] == inner["trace"] == outer["id"]
    assert "remote" not in plain
    assert room.stats_on_disk()["faults"] == {}


def test_open_and_aborted_calls_are_roots_of_that_trace(room: Room) -> None:
    """A worker that dies in the middle leaves calls that still know whose trace they were in."""
    worker = room.worker()
    outer = worker.begin("outer", worker.take_up(REMOTE))
    worker.begin("inner", outer.id)
    room.turn(2)
    rows = [row for drain in room.collector.workers.values() for row in drain.rows.open.values()]
    assert {row.parent for row in rows} == {0, outer.id}
    room.finish()
    assert remotes(room, "outer") == [f"{TRACE}-{SPAN}"]
    assert remotes(room, "inner") == [TRACE]


def test_a_context_outlives_its_process_and_a_place_that_is_used_again(room: Room) -> None:
    """What was written down is kept when its worker is buried, as others may be beneath."""
    worker, other = room.worker(), room.worker()
    context = worker.take_up(REMOTE)
    worker.call("first")
    room.turn(2)
    worker.die()
    room.turn(5)
    nested(other, context)
    room.finish()
    assert remotes(room, "outer") == [f"{TRACE}-{SPAN}"]
    assert remotes(room, "inner") == [TRACE]


def test_a_parent_that_ends_between_rings_and_rows_is_the_root(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record, in parts, came after its ring was read; its row is another call's already."""
    worker = room.worker()
    worker.call("first")
    room.turn(2)
    (drain,) = room.collector.workers.values()
    read_rows = drain.read_rows
    outer = worker.begin("outer")
    worker.call("inner", 1, outer.id)

    def too_late(**how: bool) -> None:
        if outer.id not in ended:
            ended.add(outer.id)
            worker.end_in_parts(outer, b"\xa1n" * 200)
            assert row_key(worker.begin("outer").id) == row_key(outer.id)
        read_rows(**how)

    ended: set[int] = set()
    monkeypatch.setattr(drain, "read_rows", too_late)
    room.collector.step()
    room.collector.commit()
    room.finish()
    (inner,) = room.lines("inner")
    assert ended
    assert inner["parent"] == inner["trace"] == outer.hex


def test_a_parent_that_began_behind_the_look_at_its_worker_is_the_root(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was looked at before its child, in another one, had ended."""
    first, second = room.worker(), room.worker()
    first.call("first")
    second.call("first")
    room.turn(2)
    begun: list[str] = []
    for drain in room.collector.workers.values():
        read_rows = drain.read_rows

        def then_begin(read_rows: Callable[..., None] = read_rows, **how: bool) -> None:
            read_rows(**how)
            if not begun:
                # Each is the other's parent's worker: whichever is looked at first.
                for mine, other in ((first, second), (second, first)):
                    outer = mine.begin("outer")
                    begun.append(outer.hex)
                    other.call("inner", 1, outer.id)

        monkeypatch.setattr(drain, "read_rows", then_begin)
    first.call("first")
    second.call("first")
    room.collector.step()
    room.collector.commit()
    room.finish()
    assert len(begun) == 2
    assert all(line["trace"] == line["parent"] for line in room.lines("inner"))


def test_a_restarted_collector_finds_contexts_again(room: Room) -> None:
    """They lie with the worker: nothing of a former collector is needed."""
    worker = room.worker()
    context = worker.take_up(REMOTE)
    nested(worker, context)
    room.turn(2)
    outer = worker.begin("outer", context)
    room.kill()
    worker.call("inner", 2, outer.id)
    worker.end(outer)
    room.finish()
    assert remotes(room, "outer") == [f"{TRACE}-{SPAN}"] * 2
    assert remotes(room, "inner") == [TRACE] * 2
    assert room.stats_on_disk()["total_calls"] == 4


def test_a_context_that_is_lost_costs_its_name_alone(room: Room) -> None:
    """Its calls are counted and kept as roots of a trace of ours, and the loss is counted once."""
    worker = room.worker()
    context = worker.take_up(REMOTE)
    worker.remotes.give_back(context)
    for number in range(2 * PLACES):
        worker.remotes.give_back(worker.take_up(Remote(number.to_bytes(16, "big"), b"12345678")))
    nested(worker, context)
    nested(worker, context)
    room.finish()
    assert remotes(room, "outer") == remotes(room, "inner") == [None, None]
    assert all("parent" not in line for line in room.lines("outer"))
    stats = room.stats_on_disk()
    assert stats["total_calls"] == 4
    assert stats["faults"] == {"context_lost": 1}


def test_a_process_with_a_context_of_its_own(room: Room) -> None:
    """All its roots belong to that, and what they call in other processes, also once it is gone."""
    worker, other = room.worker(), room.worker()
    room.turn()
    worker.segment.extend(worker.remotes)
    worker.remotes.put_own(REMOTE)
    nested(worker, 0, other)
    nested(other, 0)
    room.turn(3)
    outer = worker.begin("outer")
    worker.die()
    room.turn(5)
    other.call("inner", 3, outer.id)
    room.finish()
    assert sorted(map(str, remotes(room, "outer"))) == [f"{TRACE}-{SPAN}"] * 2 + ["None"]
    assert remotes(room, "inner")[:2] == [TRACE, None]


def test_damaged_contexts_are_lost_and_nothing_else(room: Room) -> None:
    """Nothing that a worker has written down is believed: not even that it is there."""
    worker = room.worker()
    context = worker.take_up(REMOTE)
    buffer = worker.segment.buffer
    at = bytes(buffer[: 8 << 20]).index(bytes.fromhex(TRACE))
    buffer[at : at + 16] = bytes(16)
    nested(worker, context)
    nested(worker, (1 << 64) - (1 << 32) - 1)
    room.finish()
    assert remotes(room, "outer") == [None, None]
    assert room.stats_on_disk()["total_calls"] == 4
