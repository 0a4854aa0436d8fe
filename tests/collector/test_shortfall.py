"""A storage that can't be written until its session has ended: what is missing is counted once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmperf.config.options import Options
from shmperf.query.answers import Answers
from shmperf.testing import Room

from .lab import new_room, storage_gone


@pytest.fixture
def rooms(tmp_path: Path, runtime: Path) -> Iterator[list[Room]]:
    """Sessions, one after the other, on one storage."""
    made: list[Room] = []
    yield made
    for room in made:
        room.close()


def notes(runtime: Path) -> list[Path]:
    return list((runtime / "shmperf").glob("u-*"))


def ended_without_disk(room: Room, known: int, unknown: int) -> None:
    """*known* calls are on disk as the session ends, and so many more are *unknown* there."""
    worker = room.worker(slots=64)
    for _ in range(known):
        worker.call("all")
    room.turn(2)
    room.collector.flush()
    room.collector.commit()
    with storage_gone(room):
        for _ in range(unknown):
            worker.call("all")
        room.finish()


def test_the_next_session_counts_them_as_lost(
    rooms: list[Room], tmp_path: Path, runtime: Path
) -> None:
    """By cause and exactly, once; the note goes, and the books balance."""
    rooms.append(new_room(tmp_path, runtime))
    ended_without_disk(rooms[0], 5, 4)
    assert len(notes(runtime)) == 1
    rooms.append(new_room(tmp_path, runtime))
    stats = rooms[1].stats()
    assert (stats["begun"], stats["total_calls"], stats["lost"]) == (9, 5, {"unwritten": 4})
    assert notes(runtime) == []
    rooms[1].kill()
    assert rooms[1].stats()["lost"] == {"unwritten": 4}
    rooms[1].finish()
    rooms.append(new_room(tmp_path, runtime))
    assert rooms[2].stats_on_disk()["lost"] == {"unwritten": 4}
    assert rooms[2].collector.ledger.state.buried == set()


def test_workers_that_live_on_are_read_again_and_not_counted_twice(
    rooms: list[Room], tmp_path: Path, runtime: Path
) -> None:
    """What they have begun they say themselves, to the next collector of their session."""
    rooms.append(new_room(tmp_path, runtime))
    (room,) = rooms
    gone, stays = room.worker(slots=64), room.worker(slots=64)
    for worker in (gone, stays):
        worker.call("all")
    room.turn(2)
    room.collector.commit()
    with storage_gone(room):
        for worker in (gone, stays):
            for _ in range(3):
                worker.call("all")
        gone.die()
        room.turn(4)
        room.collector.finish()
    rooms.append(new_room(tmp_path, runtime))
    stays.call("all")
    rooms[1].turn(2)
    stats = rooms[1].stats()
    assert stats["begun"] == 9
    assert stats["lost"] == {"unwritten": 3}
    stays.die()
    rooms[1].turn(4)
    stats = rooms[1].stats()
    assert (stats["begun"], stats["in_flight"], sum(stats["lost"].values())) == (9, 0, 6)


def test_a_session_that_ends_well_leaves_no_note(
    rooms: list[Room], tmp_path: Path, runtime: Path
) -> None:
    """Nor one whose storage came back in time."""
    rooms.append(new_room(tmp_path, runtime))
    worker = rooms[0].worker()
    worker.call("all")
    with storage_gone(rooms[0]):
        worker.call("all")
        rooms[0].turn(2)
    rooms[0].clock.now_s += 120
    rooms[0].turn(2)
    rooms[0].finish()
    assert notes(runtime) == []


def test_a_storage_that_was_deleted_since_lacks_nothing(
    rooms: list[Room], tmp_path: Path, runtime: Path
) -> None:
    """What begins anew has lost no call, and the note is not kept for it."""
    rooms.append(new_room(tmp_path, runtime))
    ended_without_disk(rooms[0], 5, 4)
    shutil.rmtree(rooms[0].storage)
    rooms.append(new_room(tmp_path, runtime))
    assert (rooms[1].stats()["begun"], rooms[1].stats()["lost"]) == (0, {})
    assert notes(runtime) == []


def test_killed_before_the_note_is_gone_they_are_counted_once(
    rooms: list[Room], tmp_path: Path, runtime: Path
) -> None:
    """The collector behind one that was killed there finds nothing missing."""
    rooms.append(new_room(tmp_path, runtime))
    ended_without_disk(rooms[0], 5, 4)
    (note,) = notes(runtime)
    content = note.read_bytes()
    rooms.append(new_room(tmp_path, runtime))
    note.write_bytes(content)
    rooms[1].kill()
    assert rooms[1].stats()["lost"] == {"unwritten": 4}
    assert notes(runtime) == []


def test_readers_say_what_is_missing(
    rooms: list[Room], tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Until the next session counts it: in a line, and the answer is not complete."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    rooms.append(new_room(tmp_path, runtime))
    ended_without_disk(rooms[0], 5, 4)
    rooms[0].close()
    answers = Answers(rooms[0].storage, Options(), None)
    for _ in range(2):
        found = answers.stats()
        assert (found["begun"], found["complete"]) == (5, False)
    (line,) = capsys.readouterr().err.splitlines()
    assert "of 9 calls begun 4 are missing here" in line
    assert "Not a directory" in line
