"""What is written of calls: limits, batches, files that somebody else has changed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.analysis.exemplars import MOST
from shmperf.errors import ShmperfError
from shmperf.shm.record import Call
from shmperf.storage.writer import Disk, Filed
from shmperf.testing import Clock, Room
from tests.support import wait_until

from .lab import FEW, new_room, storage_gone


def test_last_write_waits_for_a_stuck_one(tmp_path: Path, runtime: Path) -> None:
    """A collector that ends while a write is stuck waits for it, and writes everything."""
    room = new_room(tmp_path / "cwd", runtime)
    worker = room.worker()
    try:
        worker.call("all", 1)
        room.turn(2)
        disk = room.collector.disk
        disk.thread.longest_wait_s = 0.01
        may_go_on = threading.Event()
        assert disk.thread.do(may_go_on.wait) is None
        worker.call("all", 2)
        room.turn()
        assert disk.is_unavailable()
        threading.Timer(0.3, may_go_on.set).start()
        disk.thread.longest_wait_s = 10.0
        room.finish()
        assert len(room.lines("all")) == 2
        assert room.stats_on_disk()["begun"] == 2
    finally:
        worker.close()
        room.close()


def test_limit_is_applied_before_the_disk(room: Room) -> None:
    """However many calls there are, the limit and the ten slowest are journalled, and no more."""
    worker = room.worker(slots=4096)
    room.turn(2)
    for n in range(4000):
        worker.end(worker.begin("few"), msgspec.msgpack.encode({"n": f"marked {n}"}))
    room.turn()
    logs = (room.storage / ".shmperf").glob("journal.*")
    assert sum(path.read_bytes().count(b"marked") for path in logs) == FEW + MOST
    assert room.collector.ledger.current_size("few") == FEW
    room.collector.flush()
    shown = [line["p"] for line in room.lines("few")]
    assert shown == [f'{{"n":"marked {n}"}}' for n in (3997, 3998, 3999)]
    assert room.stats("few")["count"] == 4000


def test_a_tool_is_written_once_it_has_a_batch(room: Room) -> None:
    """Few calls of each of many tools wait, in the journal, for their batch or the interval."""
    worker = room.worker(slots=64)
    room.turn()
    for n in range(19):
        worker.call("all", n)
        worker.call("few", n)
        worker.call("other", n)
    room.turn(3)
    assert (len(room.lines("all")), len(room.lines("other"))) == (0, 0)
    worker.call("all", 19)
    room.turn(2)
    assert (len(room.lines("all")), len(room.lines("other"))) == (20, 0)
    room.kill()
    room.clock.now_s += 31
    room.turn(3)
    assert (len(room.lines("all")), len(room.lines("other"))) == (20, 19)


def test_of_a_tool_that_keeps_no_more_than_a_batch_the_interval_is_awaited(room: Room) -> None:
    """Its newest calls push out all of those before: only what is left then is written, once."""
    worker = room.worker(slots=64)
    room.turn()
    for n in range(50):
        worker.call("few", n)
        room.turn()
    assert not room.lines("few")
    assert room.stats("few")["current_size"] == FEW
    room.kill()
    assert room.stats("few")["current_size"] == FEW
    room.turn(3)
    room.clock.now_s += 31
    room.turn(3)
    assert [line["p"] for line in room.lines("few")] == [f'{{"n":{n}}}' for n in (47, 48, 49)]
    room.finish()
    assert room.stats_on_disk()["total_calls"] == 50


def test_a_tool_that_keeps_just_a_batch_awaits_the_interval(tmp_path: Path, runtime: Path) -> None:
    """Where limit and batch are the same, the next batch would push out all of this one."""
    room = new_room(tmp_path, runtime, "tool_limits: {few: 3, many: 4}\nstorage: {batch_size: 3}\n")
    try:
        worker = room.worker()
        room.turn()
        for n in range(3):
            worker.call("few", n)
            worker.call("many", n)
        room.turn(3)
        assert (len(room.lines("few")), len(room.lines("many"))) == (0, 3)
        room.clock.now_s += 31
        room.turn(3)
        assert len(room.lines("few")) == 3
    finally:
        room.close()


def test_what_is_evicted_before_its_batch_is_never_written(room: Room) -> None:
    """The outbox of nobody and the file of a limited tool see the newest of a batch alone."""
    worker = room.worker()
    for n in range(2 * FEW):
        worker.call("few", n)
    room.turn(2)
    room.collector.flush()
    assert [line["p"] for line in room.lines("few")] == [
        f'{{"n":{n}}}' for n in range(FEW, 2 * FEW)
    ]


def test_very_many_waiting_calls_are_written_whatever_their_tools(
    tmp_path: Path, runtime: Path
) -> None:
    """What waits is held in memory: at 250 batches all of it goes to its files."""
    room = new_room(tmp_path, runtime, "storage: {batch_size: 2}\n")
    try:
        worker = room.worker()
        room.turn()
        for number in range(499):
            worker.call(f"tool{number}")
        room.turn(3)
        assert not room.lines("tool0")
        worker.call("tool499")
        room.turn(5)
        assert all(len(room.lines(f"tool{number}")) == 1 for number in range(500))
    finally:
        room.close()


def test_file_has_never_more_than_twice_its_limit_of_lines(room: Room) -> None:
    """A file stays within twice the limit, flush by flush; in the end it holds the newest."""
    worker = room.worker()
    expected = []
    for n in range(40):
        expected.append(worker.call("few", n).hex)
        room.turn()
        room.collector.flush()
        ids = [line["id"] for line in room.lines("few")]
        assert len(ids) <= 2 * FEW
        assert ids == expected[-len(ids) :]
    room.finish()
    assert [line["id"] for line in room.lines("few")] == expected[-FEW:]


def test_newest_are_newest_across_workers(room: Room) -> None:
    """The limit keeps the last to end, whichever worker they come from."""
    first, second = room.worker(), room.worker()
    opened = first.begin("few")
    for n in range(5):
        second.call("few", n)
    first.end(opened)
    last = second.call("few", 9)
    room.finish()
    ids = [line["id"] for line in room.lines("few")]
    assert ids[-2:] == [opened.hex, last.hex]
    assert len(ids) == FEW


def test_history_that_fills_its_room_is_told_and_counted(tmp_path: Path, runtime: Path) -> None:
    """Tools that keep all stop at ``storage.max_bytes``; counting and others go on."""
    room = new_room(tmp_path, runtime, "tool_limits: {all: -1}\nstorage: {max_bytes: 1048576}\n")
    try:
        worker = room.worker(slots=4096)
        written = 0
        for _ in range(5):
            for _ in range(3000):
                call = worker.begin("all")
                worker.end(call, msgspec.msgpack.encode({"n": "x" * 150}))
            worker.call("other")
            room.turn(3)
            room.collector.flush()
            now = (room.storage / "all_perf.jsonl").stat().st_size
            grew, written = now > written, now
        assert not grew
        stats = room.stats()
        assert stats["tool_stats"]["all"]["count"] == 15_000
        assert stats["faults"]["max_bytes_reached"] > 0
        assert len(room.lines("other")) == 5
    finally:
        room.close()


@pytest.mark.parametrize("change", ["exchanged", "shortened", "deleted", "longer"])
def test_history_file_that_somebody_changed_is_adopted(room: Room, change: str) -> None:
    """A file that isn't the one listed any more costs no later line, and no limit is broken."""
    worker = room.worker()
    for n in range(5):
        worker.call("few", n)
        worker.call("all", n)
    room.turn()
    room.collector.flush()
    for name in ("few_perf.jsonl", "all_perf.jsonl"):
        path = room.storage / name
        text = path.read_bytes()
        if change == "exchanged":
            path.unlink()
            path.write_bytes(text * 5 + b'{"half')
        elif change == "shortened":
            os.truncate(path, len(text) // 2)
        elif change == "longer":
            path.write_bytes(text + b"garbage\n")
        else:
            path.unlink()
    later = [worker.call("all", n).hex for n in range(9)]
    few = [worker.call("few", n).hex for n in range(9)]
    room.turn()
    room.collector.flush()
    room.clock.now_s += 2
    room.turn(2)
    room.collector.flush()
    texts = (room.storage / "all_perf.jsonl").read_bytes().splitlines()
    ids = [found["data"]["id"] for text in texts if (found := parsed(text))]
    assert [i for i in ids if i in later] == later
    room.finish()
    assert [line["id"] for line in room.lines("few")] == few[-FEW:]


def parsed(text: bytes) -> dict[str, Any] | None:
    try:
        return json.loads(text)
    except ValueError:
        return None


@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo", "foreign link"])
def test_history_file_that_is_none_of_ours_is_not_followed(room: Room, kind: str) -> None:
    """Something else in a file's place is told, and nothing is written through it."""
    victim = room.storage.with_name("victim")
    victim.write_text("precious\n")
    path = room.storage / "all_perf.jsonl"
    if kind == "symlink":
        path.symlink_to(victim)
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/nonexistent/place")
    worker = room.worker()
    worker.call("all")
    worker.call("few")
    room.turn(2)
    room.collector.flush()
    assert victim.read_text() == "precious\n"
    assert room.collector.disk.reason
    assert room.stats()["total_calls"] == 2
    path.rmdir() if kind == "directory" else path.unlink()
    room.clock.now_s += 120
    room.turn(2)
    room.collector.flush()
    assert len(room.lines("all")) == len(room.lines("few")) == 1


def test_one_bad_history_file_does_not_keep_the_others_from_the_disk(room: Room) -> None:
    """A tool whose file can't be written costs no other tool its lines."""
    (room.storage / "all_perf.jsonl").mkdir()
    worker = room.worker()
    worker.call("all")
    worker.call("few")
    room.turn(2)
    room.collector.flush()
    room.clock.now_s += 120
    room.turn(2)
    room.collector.flush()
    assert len(room.lines("few")) == 1


@contextmanager
def blocked(path: Path) -> Iterator[None]:
    """Whoever opens *path* for writing waits in the kernel until this is over."""
    with path.open("rb") as file:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        try:
            yield
        finally:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def test_stuck_write_stops_no_drain_and_doubles_no_line(tmp_path: Path, runtime: Path) -> None:
    """A write that does not come back stops nobody; what it did in the end is not done again."""
    room = new_room(tmp_path, runtime)
    disk = room.collector.disk
    disk.thread.longest_wait_s = 0.2
    try:
        worker = room.worker()
        expected = [worker.call("all").hex for _ in range(5)]
        room.turn(2)
        room.collector.flush()
        path = room.storage / "all_perf.jsonl"
        try:
            with blocked(path):
                expected += [worker.call("all").hex for _ in range(5)]
                room.turn()
                room.collector.flush()
                assert disk.is_unavailable()
                assert "did not come back" in disk.reason
                expected += [worker.call("all").hex for _ in range(5)]
                assert room.turn(3) == 5
                assert room.stats()["total_calls"] == 15
        except OSError as error:
            pytest.skip(f"no leases on this file system: {error}")
        wait_until(lambda: not disk.is_unavailable(), "the stuck write to end")
        room.clock.now_s += 120
        room.turn(3)
        room.collector.flush()
        assert room.ids("all") == Counter(expected)
        room.finish()
        assert room.ids("all") == Counter(expected)
    finally:
        room.close()


def test_batches_are_written_as_they_are_drained_without_async_save(
    tmp_path: Path, runtime: Path
) -> None:
    """``async_save: false`` leaves nothing unwritten after the round that drained it."""
    room = new_room(tmp_path, runtime, "storage: {async_save: false}\n")
    try:
        worker = room.worker()
        for n in range(5):
            call = worker.call("tool", n)
            room.turn()
            assert room.ids("tool")[call.hex] == 1
    finally:
        room.close()


def test_kept_records_are_written_when_old_enough(room: Room) -> None:
    """A single record waits for its write no longer than the interval."""
    room.turn()
    worker = room.worker()
    worker.call("all")
    room.turn(3)
    assert room.lines("all") == []
    room.clock.now_s += 30
    room.turn(6)
    assert len(room.lines("all")) == 1


def files_of(room: Room) -> int:
    return len(list(room.storage.glob("*_perf.jsonl")))


def test_many_tools_are_written_in_pieces_and_rings_are_drained_between(room: Room) -> None:
    """A flush leaves what there is no time for to the next rounds, which drain first."""
    worker = room.worker(slots=4)
    room.turn()
    for n in range(700):
        worker.call(f"tool-{n}", n)
    room.turn()
    held = room.collector.requests.begin_flush(None)
    assert held is not True
    assert room.collector.flusher.is_behind
    assert 0 < files_of(room) < 700
    late = worker.call("late")
    room.turn()
    assert room.collector.ledger.totals.known["late"].count == 1
    assert room.collector.requests.flushed(held) is held
    room.turn(3)
    assert not room.collector.flusher.is_behind
    assert room.collector.requests.flushed(held) is True
    assert all(room.lines(f"tool-{n}") for n in range(700))
    room.finish()
    assert list(room.ids("late")) == [late.hex]


def test_a_flush_waits_for_what_was_due_and_not_for_what_comes_later(room: Room) -> None:
    """Tools that are called again and again keep nobody waiting."""
    worker = room.worker(slots=4)
    for n in range(600):
        worker.call(f"tool-{n}", n)
    room.turn()
    room.collector.settle()
    held = room.collector.requests.begin_flush(None)
    rounds = 0
    while room.collector.requests.flushed(held) is held:
        for n in range(600):
            worker.call(f"tool-{n}", n)
        room.collector.settle()
        later = room.collector.requests.begin_flush(5.0)
        rounds += 1
    assert rounds <= 3
    assert isinstance(room.collector.requests.flushed(later), type(held))
    room.clock.now_s += 6
    left = room.collector.requests.flushed(later)
    assert type(left) is int
    assert left > 0


def test_what_is_due_last_has_not_been_reached_before_it_is_written(room: Room) -> None:
    """Who waits for the one tool that is due is not told that it was written until it is."""
    worker = room.worker(slots=64)
    for n in range(20):
        worker.call("all", n)
    room.collector.settle()
    flusher = room.collector.flusher
    before = flusher.choose(at_once=False) - 1
    assert flusher.has_reached(before)
    assert not flusher.has_reached(before + 1)
    # Asked for again, what is due keeps its number: whoever waited first would be told too early.
    assert flusher.choose(at_once=False) == before + 1
    assert not flusher.has_reached(before + 1)
    assert not room.lines("all")
    room.turn(2)
    assert flusher.has_reached(before + 1)
    assert len(room.lines("all")) == 20


class SlowDisk(Disk):
    """A disk that appends to two or three files in the time that a piece may take."""

    def __init__(self, storage: Path, clock: Clock) -> None:
        self.step_s = 0.0
        self.now_s = clock
        super().__init__(storage, clock=self.passing)

    def passing(self) -> float:
        """Each look at the time takes some, while lines are appended."""
        self.now_s.now_s += self.step_s
        return self.now_s()

    def append_calls(
        self, calls: Mapping[str, list[Call]], limits: Mapping[str, int]
    ) -> Filed | None:
        """As the disk does, slowly."""
        self.step_s = 0.02
        try:
            return super().append_calls(calls, limits)
        finally:
            self.step_s = 0.0


def test_who_waits_is_told_of_no_tool_that_there_was_no_time_for(
    tmp_path: Path, runtime: Path
) -> None:
    """What a slow disk has not come to stays due, in the order in which it became so."""
    room = Room(tmp_path / "cwd", runtime, disk=SlowDisk)
    worker = room.worker(slots=16)
    try:
        for n in reversed(range(9)):
            worker.call(f"tool-{n}")
        room.collector.settle()
        flusher = room.collector.flusher
        tools = list(room.collector.ledger.state.kept)
        before = flusher.choose(at_once=False)
        last = flusher.choose(at_once=True)
        numbers = {tool: before + 1 + n for n, tool in enumerate(tools)}
        rounds = 0
        while not flusher.has_reached(last):
            rounds += 1
            room.turn()
            reached = {tool for tool, number in numbers.items() if flusher.has_reached(number)}
            assert reached == {tool for tool in tools if room.lines(tool)}
        assert rounds > 2
        assert all(room.lines(tool) for tool in tools)
        worker.close()
        room.finish()
    finally:
        room.close()


def test_a_flush_that_storage_fails_in_the_middle_is_told(room: Room) -> None:
    """Who waits gets an error, nothing is lost, and what is left is written when it is back."""
    worker = room.worker(slots=4)
    for n in range(600):
        worker.call(f"tool-{n}", n)
    room.turn()
    held = room.collector.requests.begin_flush(None)
    with storage_gone(room):
        room.turn()
        with pytest.raises(ShmperfError, match="storage is unavailable"):
            room.collector.requests.flushed(held)
    room.clock.now_s += 61
    room.finish()
    assert all(len(room.lines(f"tool-{n}")) == 1 for n in range(600))


def test_a_killed_flush_of_many_tools_is_taken_up_where_it_was(room: Room) -> None:
    """What had its files has no line twice, what had not is written by the next collector."""
    worker = room.worker(slots=4)
    for n in range(700):
        worker.call(f"tool-{n}", n)
    room.turn()
    room.collector.requests.begin_flush(None)
    assert 0 < files_of(room) < 700
    room.kill(torn=True)
    room.finish()
    assert all(len(room.lines(f"tool-{n}")) == 1 for n in range(700))
    found = room.stats_on_disk()
    assert (found["begun"], found["in_flight"], found["lost"]) == (700, 0, {})


def test_a_flush_comes_to_the_very_last_tool(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tool beyond a piece is written before the flush says that it is done."""
    monkeypatch.setattr("shmperf.collector.flusher._PIECE", 2)
    worker = room.worker()
    for tool in "abc":
        worker.call(tool)
    room.turn()
    room.collector.flush()
    assert [len(room.lines(tool)) for tool in "abc"] == [1, 1, 1]


def test_history_is_full_at_its_bound_and_not_before(room: Room) -> None:
    """A byte below ``storage.max_bytes`` a call is written, at it none."""
    worker, flusher = room.worker(), room.collector.flusher
    found = []
    for spare in (1 << 20, 1, 0):
        used = sum(file.size for file in room.collector.ledger.state.files.values())
        flusher.storage = msgspec.structs.replace(flusher.storage, max_bytes=used + spare)
        worker.call("all")
        room.turn()
        room.collector.flush()
        found.append(len(room.lines("all")))
    assert found == [1, 2, 2]
