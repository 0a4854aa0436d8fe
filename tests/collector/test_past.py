"""Taking up what the storage holds, when it is damaged, another version's or away."""

from __future__ import annotations

import os
import shutil
from collections import Counter

import pytest

from shmperf.analysis.stats import plain
from shmperf.session.messages import Status
from shmperf.storage.state import Frame, Ledger, WorkerState
from shmperf.testing import Room, assert_books_balance

from .lab import storage_gone


@pytest.mark.parametrize("keep", ["nothing", "header", "half"])
def test_torn_journal_keeps_what_stands_before_the_damage(room: Room, keep: str) -> None:
    """A log cut anywhere leaves the state of its whole frames, and workers are drained on."""
    worker = room.worker()
    for n in range(10):
        worker.call("all", n)
        room.turn()
    (log,) = (room.storage / ".shmperf").glob("journal.*")
    size = {"nothing": 0, "header": 16, "half": log.stat().st_size // 2}[keep]
    room.collector.server.close()
    os.truncate(log, size)
    room.kill()
    assert room.stats()["tool_stats"].get("all", {"count": 0})["count"] <= 10
    worker.call("all")
    assert room.turn(2) >= 1
    assert_books_balance(plain(room.collector.ledger.stats(None, 1, complete=True)))


def test_taking_up_an_empty_past_forgets_what_was_counted_in_memory(room: Room) -> None:
    """Frames that waited for a storage that turns out empty are applied once, not once more."""
    ledger = Ledger(room.collector.options)
    ledger.totals.of("all").add([5], 0, 0)
    analyses = ledger.analyses.take_deltas()
    frame = Frame(workers={"w": WorkerState(begun=1, finished=1)}, analyses=analyses)
    ledger.apply(frame, live=True)
    assert ledger.restore(None, []) is None
    assert plain(ledger.stats(None, 0, complete=True))["begun"] == 0
    ledger.apply(frame)
    stats = plain(ledger.stats(None, 0, complete=True))
    assert (stats["begun"], stats["total_calls"]) == (1, 1)


def test_storage_failure_stops_no_drain_and_recovers(room: Room) -> None:
    """While nothing can be written everything is counted and released; afterwards it is on disk."""
    worker = room.worker(slots=8)
    expected = [worker.call("all").hex for _ in range(4)]
    room.turn(2)
    room.collector.flush()
    tries = 0
    with storage_gone(room):
        for _ in range(20):
            expected += [worker.call("all").hex for _ in range(4)]
            # Here and when it is due again: the pauses grow.
            tries += not room.collector.disk.is_unavailable()
            room.turn()
        room.collector.flush()
        assert room.collector.disk.is_unavailable()
        assert room.collector.disk.reason
        stats = room.stats()
        assert (stats["total_calls"], stats["lost"]) == (84, {})
        assert 0 < tries < 10
    room.clock.now_s += 120
    room.turn(5)
    assert not room.collector.disk.reason
    room.collector.flush()
    assert room.ids("all") == Counter(expected)
    room.kill()
    assert room.stats()["total_calls"] == 84
    room.finish()
    assert room.ids("all") == Counter(expected)


def test_deleted_storage_is_made_anew_with_a_whole_snapshot(room: Room) -> None:
    """Files deleted under a running collector: statistics go on, the next restart knows them."""
    worker = room.worker()
    for _ in range(5):
        worker.call("all")
    room.turn(3)
    room.collector.flush()
    shutil.rmtree(room.storage)
    later = [worker.call("all").hex for _ in range(5)]
    room.turn()
    room.clock.now_s += 120
    room.turn(3)
    room.collector.flush()
    assert room.ids("all") == Counter(later)
    room.kill()
    assert room.stats()["total_calls"] == 10


def test_past_is_not_overwritten_when_it_could_not_be_read(room: Room) -> None:
    """A collector that finds its storage unavailable takes up the past once it is back."""
    worker = room.worker()
    first = [worker.call("all").hex for _ in range(5)]
    room.turn(3)
    room.collector.flush()
    with storage_gone(room):
        room.kill()
        second = [worker.call("all").hex for _ in range(5)]
        room.turn(2)
    room.clock.now_s += 120
    room.turn(3)
    assert room.stats()["tool_stats"]["all"]["count"] == 10
    room.finish()
    assert room.ids("all") == Counter(first + second)


def test_calls_without_a_record_are_not_counted_again_behind_a_late_past(room: Room) -> None:
    """A worker's counter says all of them: those of before wait for the past, which knows them."""
    worker = room.worker()
    worker.leave_out("all", 50)
    room.turn(3)
    with storage_gone(room):
        worker.leave_out("all", 7)
        room.kill()
        worker.leave_out("all", 3)
        room.turn(2)
        worker.leave_out("all", 2)
        # A worker that nobody had seen.
        other = room.worker()
        other.leave_out("all", 4)
        room.turn(2)
        stats = room.stats()
        assert stats["begun"] == stats["total_calls"] <= 12
    room.clock.now_s += 120
    room.turn(3)
    stats = room.stats()
    assert (stats["begun"], stats["tool_stats"]["all"]["sampled_out"]) == (66, 66)
    room.kill()
    worker.leave_out("all", 1)
    assert room.stats()["begun"] == 67
    room.finish()
    found = room.stats_on_disk()
    assert (found["total_calls"], found["faults"]) == (67, {})


def test_journal_of_a_newer_version_is_not_touched(room: Room) -> None:
    """What a later version of the program wrote is as it was after an earlier one has run."""
    worker = room.worker()
    worker.call("all")
    room.turn(2)
    room.collector.disk.snapshot(room.collector.ledger.encode)
    snapshot = room.storage / ".shmperf/snapshot"
    content = bytearray(snapshot.read_bytes())
    content[8] += 1
    snapshot.write_bytes(content)
    room.kill()
    patterns = ("*.jsonl", ".shmperf/snapshot*", ".shmperf/journal*", ".shmperf/unread*")
    there = {path: path.read_bytes() for name in patterns for path in room.storage.glob(name)}
    room.clock.now_s += 120
    worker.call("all")
    room.turn(3)
    assert "version" in " ".join([*room.collector.requests.value_for(Status()).told.values()])
    room.finish()
    found = {path: path.read_bytes() for name in patterns for path in room.storage.glob(name)}
    assert snapshot in there
    assert found == there


def test_damaged_snapshot_is_set_aside_and_told_once(room: Room) -> None:
    """A snapshot that can't be read costs the past, not the session: the fault is counted once."""
    worker = room.worker()
    worker.call("all")
    room.turn(2)
    room.collector.disk.snapshot(room.collector.ledger.encode)
    snapshot = room.storage / ".shmperf/snapshot"
    snapshot.write_bytes(snapshot.read_bytes()[:-3])
    room.kill()
    worker.call("all")
    room.turn(2)
    assert plain(room.collector.ledger.stats(None, 1, complete=True))["faults"] == {
        "journal_damaged": 1
    }
    room.kill()
    assert plain(room.collector.ledger.stats(None, 1, complete=True))["faults"] == {
        "journal_damaged": 1
    }
    assert list(snapshot.parent.glob("snapshot.damaged-*"))
