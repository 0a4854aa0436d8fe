"""A collector on a storage directory that another version of the program has left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmperf.testing import Room

from .lab import new_room

V1 = Path(__file__).parents[1] / "storage/v1"
EXPECTED = json.loads((V1 / "expected.json").read_bytes())


@pytest.fixture
def room(tmp_path: Path, runtime: Path) -> Iterator[Room]:
    """A room whose storage was used by the first version before."""
    shutil.copytree(V1 / "history", tmp_path / "perf_data")
    shutil.copytree(V1 / "journal", tmp_path / "perf_data/.shmperf")
    # Which ids were given away: none comes again.
    shutil.copy(V1 / "blocks", tmp_path / "perf_data/.shmperf")
    found = new_room(tmp_path, runtime)
    yield found
    found.close()


def test_the_first_versions_storage_goes_on(room: Room) -> None:
    """Its totals, lines and kept calls are those of today's, new ones join, the books balance."""
    # Its worker's memory and presence are not there any more: what was in flight is lost.
    gone = {"segment_gone": EXPECTED["stats"]["in_flight"]}
    then = EXPECTED["stats"]
    assert room.stats()["total_calls"] == then["total_calls"]
    kept = room.storage / ".shmperf/journal.v1"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        path.name: path.read_bytes() for path in (V1 / "journal").iterdir()
    }
    worker = room.worker()
    new = [worker.call("all").hex for _ in range(5)]
    room.turn(2)
    room.kill()
    room.turn(2)
    found = room.stats()
    assert found["total_calls"] == then["total_calls"] + 5
    assert (found["in_flight"], found["lost"]) == (0, then["lost"] | gone)
    assert kept.exists()
    room.finish()
    found = room.stats_on_disk()
    assert (found["total_calls"], found["aborted"]) == (then["total_calls"] + 5, then["aborted"])
    assert found["faults"] == {"segment_gone": 1}
    history = [
        json.loads(line) for line in (V1 / "history/all_perf.jsonl").read_text().split("\n")[:-1]
    ]
    before = [line["data"]["id"] for line in history]
    before += [f"{call_id:016x}" for call_id in EXPECTED["kept"]["all"]]
    assert room.ids("all") == dict.fromkeys([*before, *new], 1)
    assert set(room.ids("few")) == {f"{call_id:016x}" for call_id in EXPECTED["kept"]["few"]}


def test_the_old_journal_stays_until_the_first_clean_end(room: Room) -> None:
    """Not until a collector has written everything is nothing left to go back to."""
    kept = room.storage / ".shmperf/journal.v1"
    room.turn(3)
    room.kill()
    room.turn(3)
    assert sorted(path.name for path in kept.iterdir()) == ["journal.2", "snapshot"]
    room.finish()
    assert not kept.exists()
    room.stats_on_disk()
