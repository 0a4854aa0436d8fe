"""Segments of a running collector: when lines move, when they go, and what goes wrong meanwhile."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from shmperf.storage.cutting import Cut
from shmperf.storage.reading import lines_of
from shmperf.testing import Room, ScriptedWorker

from .lab import new_room

KEEP = "tool_limits: {all: -1}\nhistory: {segment_lines: 100%s}\n"


@contextmanager
def a_room(tmp_path: Path, runtime: Path, history: str = "", more: str = "") -> Iterator[Room]:
    room = new_room(tmp_path, runtime, KEEP % history + more)
    try:
        yield room
    finally:
        room.close()


def record(room: Room, worker: ScriptedWorker, count: int, tool: str = "all") -> list[str]:
    """So many calls, on disk; their ids."""
    found = [worker.call(tool, n).hex for n in range(count)]
    room.turn(2)
    room.collector.flush()
    return found


def settle(room: Room) -> None:
    """Until there is nothing more to do with segments."""
    archiving = room.collector.parts.archiving
    room.turn(2)
    for _ in range(500):
        room.turn()
        if not archiving.is_behind and not archiving._is_eager:
            return
    pytest.fail("segments are never done")


def names(room: Room) -> list[str]:
    return sorted(path.name for path in room.storage.glob("all_perf.0*"))


def publish(room: Room, text: str) -> None:
    """The configuration becomes *text*, and is taken up."""
    room.config.write_text(text)
    room.clock.now_s += 2
    room.turn(2)


def test_segments_are_made_while_calls_go_on(tmp_path: Path, runtime: Path) -> None:
    """Counts, sizes and lines are those of calls made, before, during and after."""
    with a_room(tmp_path, runtime) as room:
        worker = room.worker(slots=4096)
        expected: list[str] = []
        for _ in range(5):
            expected += record(room, worker, 130)
            assert [line["id"] for line in room.lines("all")] == expected
            room.turn(2)
            assert room.stats("all")["current_size"] == len(expected)
        settle(room)
        assert [line["id"] for line in room.lines("all")] == expected
        assert len(names(room)) == 6
        room.finish()
        assert [line["id"] for line in room.lines("all")] == expected
        stats = room.stats_on_disk()
        assert stats["tool_stats"]["all"]["current_size"] == len(expected)


def test_what_is_left_at_the_end_moves_then(tmp_path: Path, runtime: Path) -> None:
    """A session that ends at once leaves segments too."""
    with a_room(tmp_path, runtime) as room:
        worker = room.worker(slots=4096)
        for n in range(350):
            worker.call("all", n)
        room.finish()
        assert len(names(room)) == 3
        assert len(room.lines("all")) == 350


def test_off_makes_no_segments(tmp_path: Path, runtime: Path) -> None:
    """``compress: off`` leaves lines where they are."""
    with a_room(tmp_path, runtime, ", compress: off") as room:
        record(room, room.worker(slots=4096), 350)
        settle(room)
        assert names(room) == []
        assert len(room.lines("all")) == 350


@pytest.mark.parametrize(("limit", "kept"), [(10, 10), (150, 150), (230, 230), (1000, 420), (0, 0)])
def test_a_tool_that_gets_a_limit_keeps_its_newest(
    tmp_path: Path, runtime: Path, limit: int, kept: int
) -> None:
    """Segments go, as lines beyond the limit do; what the limit allows comes back to the file."""
    with a_room(tmp_path, runtime) as room:
        worker = room.worker(slots=4096)
        expected = record(room, worker, 420)
        settle(room)
        assert len(names(room)) == 4
        publish(room, f"tool_limits: {{all: {limit}}}\n")
        settle(room)
        assert names(room) == []
        room.finish()
        assert [line["id"] for line in room.lines("all")] == expected[len(expected) - kept :]
        assert room.stats_on_disk()["tool_stats"]["all"]["current_size"] == kept


def test_a_limit_taken_away_again_goes_on_with_new_numbers(tmp_path: Path, runtime: Path) -> None:
    """-1, then a limit, then -1: lines since are kept, and every one once."""
    with a_room(tmp_path, runtime) as room:
        worker = room.worker(slots=4096)
        record(room, worker, 220)
        settle(room)
        publish(room, "tool_limits: {all: 30}\n")
        settle(room)
        room.collector.frames.commit_each(room.collector.flusher.compact())
        publish(room, KEEP % "")
        later = record(room, worker, 120)
        settle(room)
        found = [line["id"] for line in room.lines("all")]
        assert found[-120:] == later
        assert len(set(found)) == len(found) == 150
        assert names(room) == ["all_perf.000003.jsonl.zst"]


def test_the_oldest_segment_goes_when_room_is_short(tmp_path: Path, runtime: Path) -> None:
    """``drop_oldest``: the newest stay, what goes is counted and told, and calls are kept on."""
    more = "storage: {max_bytes: 1048576}\n"
    with a_room(tmp_path, runtime, ", when_full: drop_oldest", more) as room:
        worker = room.worker(slots=4096)
        expected: list[str] = []
        for _ in range(30):
            for n in range(500):
                call = worker.begin("all")
                expected.append(call.hex)
                noise = os.urandom(75).hex()
                assert worker.end(call, msgspec.msgpack.encode({"n": f"{n}{noise}"}))
            room.turn(2)
            room.collector.flush()
            settle(room)
        found = [line["id"] for line in room.lines("all")]
        assert found == expected[len(expected) - len(found) :]
        faults = room.stats()["faults"]
        assert faults == {"oldest_dropped": len(expected) - len(found)}
        assert faults["oldest_dropped"] > 0
        told = room.collector.parts.faults.told["oldest_dropped"]
        assert "storage.max_bytes is reached" in told
        size = sum(path.stat().st_size for path in room.storage.glob("all_perf*"))
        assert 800_000 < size < 1_100_000


def test_a_burst_pushes_out_the_oldest_though_room_is_made_later(
    tmp_path: Path, runtime: Path
) -> None:
    """``drop_oldest`` never refuses the newest calls because the files are full for a moment."""
    more = "storage: {max_bytes: 1048576}\n"
    with a_room(tmp_path, runtime, ", when_full: drop_oldest", more) as room:
        worker = room.worker(slots=4096)
        expected: list[str] = []
        for _ in range(6):
            for n in range(2_000):
                call = worker.begin("all")
                expected.append(call.hex)
                noise = os.urandom(75).hex()
                assert worker.end(call, msgspec.msgpack.encode({"n": f"{n}{noise}"}))
            room.turn(2)
            room.collector.flush()
        for _ in range(40):
            settle(room)
        found = [line["id"] for line in room.lines("all")]
        assert found == expected[len(expected) - len(found) :]
        assert len(found) > 1_000
        assert room.stats()["faults"] == {"oldest_dropped": len(expected) - len(found)}


def test_without_segments_the_oldest_lines_go(tmp_path: Path, runtime: Path) -> None:
    """``drop_oldest`` with compression off lets the head of the largest file go."""
    more = "storage: {max_bytes: 1048576}\n"
    with a_room(tmp_path, runtime, ", compress: off, when_full: drop_oldest", more) as room:
        worker = room.worker(slots=4096)
        expected: list[str] = []
        for _ in range(10):
            for _ in range(600):
                call = worker.begin("all")
                expected.append(call.hex)
                worker.end(call, msgspec.msgpack.encode({"n": "x" * 150}))
            room.turn(2)
            room.collector.flush()
            settle(room)
        found = [line["id"] for line in room.lines("all")]
        assert 1000 < len(found) < 6000
        assert found == expected[len(expected) - len(found) :]
        assert room.stats()["faults"] == {"oldest_dropped": len(expected) - len(found)}
        assert room.collector.ledger.current_size("all") == len(found)


def test_what_is_older_than_it_is_to_stay_goes(tmp_path: Path, runtime: Path) -> None:
    """``retention_days``: whole segments, lines at the beginning of files, and reports."""
    with a_room(tmp_path, runtime, ", retention_days: 1") as room:
        worker = room.worker(slots=4096)
        old = record(room, worker, 150)
        record(room, worker, 5, "few")
        settle(room)
        reports = room.storage / "optimization"
        reports.mkdir()
        stamp = json.loads(next(lines_of(room.storage, "all")))["timestamp"]
        day, hour = stamp[:10].replace("-", ""), stamp[11:19].replace(":", "")
        # Somebody's own, and a folder that can't be deleted as a file.
        stay = [
            "20200101-what-we-found.md",
            "20200101T000000Z.md",
            "30000101T000000Z.json",
            "notes",
        ]
        (reports / stay[1]).mkdir()
        for name in (f"{day}T{hour}Z.json", f"{day}T{hour}Z-2.md", *stay):
            if not (reports / name).exists():
                (reports / name).write_text("{}")
        # A day and a second later, as the wall clock says.
        began = room.lines("few")[-1]["s"]
        archiving = room.collector.parts.archiving
        archiving._wall_ns = lambda: int((began + 86_401) * 1e9)
        assert [line["id"] for line in room.lines("all")] == old
        worker_now = room._now_ns
        room._now_ns = worker_now + 86_400 * 10**9
        young = record(room, worker, 30)
        settle(room)
        room.clock.now_s += 1000
        settle(room)
        assert [line["id"] for line in room.lines("all")] == young
        assert room.lines("few") == []
        assert names(room) == []
        assert sorted(path.name for path in reports.iterdir()) == stay
        assert room.collector.ledger.current_size("all") == 30
        assert room.stats()["faults"] == {}
        room.finish()
        assert [line["id"] for line in room.lines("all")] == young


def test_a_full_disk_in_the_middle_of_a_segment(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost or left behind, it is told, and a while later it is done after all."""
    full = [True]
    write = Cut._write

    def fails(cut: Cut, content: bytes) -> None:
        if full[0] and cut.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(cut, content)

    monkeypatch.setattr(Cut, "_write", fails)
    with a_room(tmp_path, runtime) as room:
        worker = room.worker(slots=4096)
        expected = record(room, worker, 250)
        room.turn(20)
        assert names(room) == []
        assert [line["id"] for line in room.lines("all")] == expected
        assert room.stats()["faults"] == {"segment_failed": 1}
        assert "No space left" in room.collector.parts.faults.told["segment_failed"]
        assert not room.collector.disk.reason
        expected += record(room, worker, 10)
        full[0] = False
        room.clock.now_s += 31
        settle(room)
        assert len(names(room)) == 2
        assert [line["id"] for line in room.lines("all")] == expected
        assert not list(room.storage.glob(".all*"))


def test_a_cleanup_in_the_middle_of_a_segment(tmp_path: Path, runtime: Path) -> None:
    """Everything of before is gone, what comes after is kept, and numbers go on."""
    with a_room(tmp_path, runtime) as room:
        worker = room.worker(slots=4096)
        record(room, worker, 350)
        archiving = room.collector.parts.archiving
        while not names(room):
            room.turn()
        assert archiving.is_behind
        room.collector.cleanup()
        assert not archiving.is_behind
        room.collector.disk.wait_for_return(1.0)
        assert names(room) == []
        later = record(room, worker, 120)
        settle(room)
        assert [line["id"] for line in room.lines("all")] == later
        assert not list(room.storage.glob(".all*"))


def test_gzip_takes_the_place_of_a_missing_zstd(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once which package is missing; segments are made all the same."""
    monkeypatch.setattr("shmperf.storage.codecs.has_zstd", lambda: False)
    with a_room(tmp_path, runtime) as room:
        worker = room.worker(slots=4096)
        record(room, worker, 50)
        settle(room)
        assert room.stats()["faults"] == {}
        expected = [line["id"] for line in room.lines("all")] + record(room, worker, 300)
        settle(room)
        assert {name.rpartition(".")[2] for name in names(room)} == {"gz"}
        assert [line["id"] for line in room.lines("all")] == expected
        assert room.stats()["faults"] == {"no_zstd": 1}
        assert "backports.zstd" in room.collector.parts.faults.told["no_zstd"]


def test_a_file_of_before_becomes_segments(tmp_path: Path, runtime: Path) -> None:
    with a_room(tmp_path, runtime, ", compress: off") as room:
        worker = room.worker(slots=4096)
        expected = record(room, worker, 1234)
        publish(room, KEEP % "")
        inodes = set()
        for _ in range(200):
            room.turn()
            inodes.add((room.storage / "all_perf.jsonl").stat().st_ino)
        assert len(names(room)) == 12
        assert [line["id"] for line in room.lines("all")] == expected
        assert len(inodes) == 2
