"""A collector on a storage directory that another version of the program has left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shmperf.testing import Room

from .lab import new_room

STORAGE = Path(__file__).parents[1] / "storage"
V1 = STORAGE / "v1"
EXPECTED = json.loads((V1 / "expected.json").read_bytes())
# As tests/programs/upgrades/left_storage.py leaves it with the first version.
LEFT = STORAGE / "left_v1"
LEFT_CONFIG = "tool_limits: {all: -1, few: 3}\n"
# Percentiles are of other buckets.
NOT_EXACT = {"p50_s", "p95_s", "p99_s", "last_updated"}


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


@pytest.fixture
def left(tmp_path: Path, runtime: Path) -> Iterator[Room]:
    """A room whose storage a program of the first version has left as its collector was killed."""
    storage = tmp_path / "perf_data"
    shutil.copytree(LEFT, storage, ignore=shutil.ignore_patterns("internals", "expected.json"))
    shutil.copytree(LEFT / "internals", storage / ".shmperf")
    found = new_room(tmp_path, runtime, LEFT_CONFIG)
    yield found
    found.close()


def test_what_a_killed_program_of_before_has_left_goes_on(left: Room) -> None:
    """Its counts, graph, ids and lines, those in the journal alone too; its open call is lost."""
    expected = json.loads((LEFT / "expected.json").read_bytes())
    then, ids = expected["stats"], expected["ids"]
    # Nothing is left of its worker: what was open there is lost, by count.
    left.turn(4)
    found = left.stats()
    assert (found["begun"], found["total_calls"], found["aborted"]) == (34, 32, 1)
    assert (found["in_flight"], found["lost"]) == (0, {"segment_gone": then["in_flight"]})
    for tool, row in then["tool_stats"].items():
        for key in row.keys() - NOT_EXACT:
            assert found["tool_stats"][tool][key] == row[key], (tool, key)
    graph = msgspec.to_builtins(left.collector.ledger.tree.graph({}))
    assert {edge["tool"]: edge for edge in graph} == {
        edge["tool"]: edge for edge in expected["tree"]
    }
    new = [left.worker().call("all").hex for _ in range(2)]
    left.turn(2)
    left.kill()
    assert left.stats()["total_calls"] == 34
    assert (left.storage / ".shmperf/journal.v1").exists()
    left.finish()
    assert left.ids("all") == dict.fromkeys([*ids["all"], *new], 1)
    assert left.ids("few") == dict.fromkeys(ids["few"][-3:], 1)
    assert left.ids("dies") == dict.fromkeys(ids["dies"], 1)
    assert not (left.storage / ".shmperf/journal.v1").exists()
    assert b"hidden" not in (left.storage / "all_perf.jsonl").read_bytes()
    in_detail = [line for line in left.lines("all") if "params" in line]
    assert len(in_detail) == 12
    assert [len(line["child_tools"]) for line in in_detail] == [n % 3 == 0 for n in range(100, 112)]
