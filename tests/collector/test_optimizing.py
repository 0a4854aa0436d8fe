"""Runs of the optimization cycle with real parts: what a kill leaves, what is kept of calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.session.messages import Optimize, RunProgress
from shmperf.session.word import is_held, is_in_detail
from shmperf.shm.record import BLOCK, DETAIL
from shmperf.testing import BegunCall, Room, ScriptedWorker

KEPT = 5
CONFIG = f"""
default_perf_points: {KEPT}
tool_limits: {{all: -1}}
optimization: {{trigger_threshold: 20, run_calls: 8, run_seconds: 60}}
"""
NewRoom = Callable[..., Room]


@pytest.fixture
def new_room(tmp_path: Path, runtime: Path, request: pytest.FixtureRequest) -> NewRoom:
    """Makes a room, which knows nothing of pytest: runs begin by themselves in it."""

    def new(config: str = CONFIG) -> Room:
        room = Room(tmp_path, runtime, config)
        request.addfinalizer(room.close)
        return room

    return new


def reports(room: Room) -> list[dict[str, Any]]:
    """Every report, the oldest first; each has its text beside it, and nothing is left over."""
    folder = room.storage / "optimization"
    found = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    assert {path.stem for path in found} == {path.stem for path in folder.glob("*.md")}
    assert not list(folder.glob(".*"))
    return [json.loads(path.read_text()) for path in found]


def normal(worker: ScriptedWorker, tool: str, count: int) -> list[str]:
    """Calls in normal mode; their ids."""
    return [worker.call(tool, n).hex for n in range(count)]


def end_detailed(worker: ScriptedWorker, opened: BegunCall, params: dict[str, Any]) -> None:
    """End a call with its parameters in memory of their own."""
    body = msgspec.msgpack.encode((params, 1 << 20, 50.0, None, None, None))
    blob = worker.segment.add_blob(body)
    assert worker.end(opened, msgspec.msgpack.encode((blob, len(body))), BLOCK | DETAIL)


def detailed(worker: ScriptedWorker, tool: str, count: int, **params: Any) -> list[str]:
    """Calls as optimization mode records them; their ids."""
    ids = []
    for _ in range(count):
        opened = worker.begin(tool, in_detail=True)
        end_detailed(worker, opened, params or {"n": 1})
        ids.append(opened.hex)
    return ids


def mode_of(room: Room) -> tuple[bool, bool]:
    """Whether calls are recorded in detail, and whether a run holds them there."""
    word = room.session.word[0]
    return is_in_detail(word), is_held(word)


def ask(room: Room, token: str, **more: Any) -> RunProgress:
    """What the collector answers to somebody who wants a run."""
    answer = room.collector.requests.value_for(Optimize(token, **more))
    assert isinstance(answer, RunProgress)
    return answer


def test_the_threshold_begins_a_run_and_its_calls_end_it(new_room: NewRoom) -> None:
    """After so many calls the session is in optimization mode for a few, then there is a report."""
    room = new_room()
    worker = room.worker(slots=64)
    normal(worker, "few", 19)
    room.turn(2)
    assert mode_of(room) == (False, False)
    normal(worker, "few", 1)
    room.turn(2)
    assert mode_of(room) == (True, True)
    detailed(worker, "few", 10, text="x" * 500)
    room.turn(2)
    assert mode_of(room) == (False, False)
    (report,) = reports(room)
    assert (report["schema"], report["trigger"], report["ended_by"]) == (1, "threshold", "calls")
    assert (report["calls"], report["tools"]["few"]["count"]) == (8, 8)
    assert report["previous"] is None
    assert report["advice"] == []
    normal(worker, "few", 100)
    room.turn(3)
    assert mode_of(room) == (False, False), "only once in an hour"
    room.clock.now_s += 3600
    room.turn(1)
    assert mode_of(room) == (True, True)
    room.stats()


def test_nobody_asked_so_no_whole_parameters_are_kept(new_room: NewRoom) -> None:
    """A run that began by itself leaves a summary and a hash, equal for equal parameters alone."""
    room = new_room()
    worker = room.worker(slots=64)
    normal(worker, "all", 20)
    room.turn(2)
    long = "x" * 500
    first, second = detailed(worker, "all", 2, a=long, b=[1, 2])
    (other,) = detailed(worker, "all", 1, a=long, b=[1, 3])
    (masked,) = detailed(worker, "all", 1, a=long, password="hunter2")  # noqa: S106  to be masked
    opened = worker.begin("all", in_detail=True)
    detailed(worker, "all", 4)
    room.turn(2)
    # It ends after the run: what it was begun in says what is kept.
    end_detailed(worker, opened, {"a": long})
    room.session.settings.set_mode(True)
    for _ in range(30_000):
        room.tick()
    room.turn(2)
    (asked,) = detailed(worker, "all", 1, a=long)
    room.finish()
    lines = {line["id"]: line for line in room.lines("all") if "duration_ms" in line}
    assert len(lines[asked]["params"]["a"]) == 500
    assert "params_hash" not in lines[asked]
    for call in (first, second, other, masked, opened.hex):
        assert lines[call]["params"].startswith('{"a":"xxx')
        assert len(lines[call]["params"]) == 200
        assert lines[call]["truncated"]
    hashes = [lines[call].get("params_hash") for call in (first, second, other, masked)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0] or "") == 32
    assert hashes[3] is None, "equal texts would not tell equal parameters"
    assert long not in (room.storage / "exemplars.jsonl").read_text()
