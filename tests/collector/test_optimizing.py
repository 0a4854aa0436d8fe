"""Runs of the optimization cycle with real parts: what a kill leaves, what is kept of calls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.analysis.optimization import Optimization
from shmperf.session.messages import Optimize, RunProgress
from shmperf.session.session import attach
from shmperf.session.word import is_held, is_in_detail
from shmperf.shm.record import BLOCK, DETAIL
from shmperf.testing import BegunCall, Room, ScriptedWorker

from .lab import Killed, a_room, storage_gone
from .lab import new_room as mortal_room

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
        room = mortal_room(tmp_path, runtime, config)
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
    """Calls in normal mode, and a moment after them; their ids."""
    ids = [worker.call(tool, n).hex for n in range(count)]
    worker._tick()
    return ids


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
    """What the collector answers, a moment later, to somebody who wants a run."""
    room.tick()
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


def test_calls_are_counted_before_a_frame_tells_them(new_room: NewRoom) -> None:
    """A fast program is not over before its calls are noticed: frames are seconds apart."""
    room = new_room()
    worker = room.worker(slots=64)
    room.turn(2)
    normal(worker, "few", 20)
    # Not as long as a frame waits, and long enough for a look.
    room.clock.now_s += 0.11
    room.collector.step()
    assert mode_of(room) == (True, True)
    assert room.stats()["total_calls"] == 20


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


def test_clean_up_takes_what_was_before_of_tools_that_the_run_has_seen(new_room: NewRoom) -> None:
    """Neither of what keeps all nor of tools without a call in the run; totals stay."""
    room = new_room()
    worker = room.worker(slots=64)
    normal(worker, "few", 3)
    before = normal(worker, "all", 3) + normal(worker, "other", 3)
    opened = worker.begin("few")
    room.turn(2)
    room.collector.flush()
    exemplars = (room.storage / "exemplars.jsonl").read_text()
    normal(worker, "few", 11)
    room.turn(2)
    worker.end(opened)
    seen = detailed(worker, "few", 2) + detailed(worker, "all", 6)
    room.turn(5)
    assert [row["calls"] for row in reports(room)] == [8]
    after = normal(worker, "few", 1)
    room.turn(2)
    room.collector.flush()
    assert room.ids("few").keys() == {opened.hex, *seen[:2], *after}
    assert room.ids("all").keys() == {*before[:3], *seen[2:]}
    assert room.ids("other").keys() == set(before[3:])
    assert [len(text) for text in exemplars.splitlines()]
    assert room.stats()["tool_stats"]["few"]["count"] == 18
    assert room.stats("few")["current_size"] == 4
    room.finish()
    assert room.ids("few").keys() == {opened.hex, *seen[:2], *after}


@pytest.mark.parametrize("more", ["--keep", "cleanup_on_optimize"])
def test_records_of_before_stay_where_somebody_wants_them(new_room: NewRoom, more: str) -> None:
    """A run that was asked for with --keep, or where the configuration says so, deletes nothing."""
    config = CONFIG.replace("run_calls", "cleanup_on_optimize: false, run_calls")
    room = new_room(CONFIG if more == "--keep" else config)
    worker = room.worker(slots=64)
    before = normal(worker, "few", 3)
    room.turn(2)
    ask(room, "a", calls=1, keep=more == "--keep")
    seen = detailed(worker, "few", 1)
    room.turn(4)
    room.finish()
    assert room.ids("few").keys() == {*before, *seen}


def test_two_requests_are_one_run_and_each_has_its_report(new_room: NewRoom) -> None:
    """Whoever asks again with the same token is told of the same run, though it is long over."""
    room = new_room()
    worker = room.worker(slots=64)
    assert ask(room, "a", calls=3).most_calls == 3
    assert ask(room, "b", calls=5, keep=True).most_calls == 3
    detailed(worker, "few", 2, text="x" * 300)
    room.turn(2)
    assert ask(room, "a").calls == 2
    assert (room.collector.requests.deeds.runs.status().trigger, mode_of(room)) == (
        "manual",
        (True, True),
    )
    detailed(worker, "few", 1)
    room.turn(2)
    first, second = ask(room, "a"), ask(room, "b")
    assert (first.is_over, first.name, first.report) == (True, second.name, second.report)
    assert reports(room) == [first.report]
    room.kill()
    assert ask(room, "a").report == first.report
    assert not ask(room, "c", calls=1).is_over
    room.turn(1)
    detailed(worker, "few", 1)
    room.turn(2)
    third = ask(room, "c").report or {}
    assert third["previous"] == first.name
    assert third["tools"]["few"]["change"]["error_rate"] == 0.0
    room.stats()


def test_somebody_may_end_a_run(new_room: NewRoom) -> None:
    """Then there is a report of what was seen; with nothing seen it says so."""
    room = new_room()
    ask(room, "a")
    over = ask(room, "a", ends=True)
    assert over.is_over
    (report,) = reports(room)
    assert (report["ended_by"], report["calls"]) == ("request", 0)
    assert "no call" in report["note"]
    assert report["note"] in (room.storage / "optimization" / f"{over.name}.md").read_text()
    assert mode_of(room) == (False, False)


@pytest.mark.parametrize("in_detail", [True, False])
def test_who_switches_the_mode_ends_the_run_and_wins(new_room: NewRoom, in_detail: bool) -> None:
    """There is a report, the mode is what was said, and it stays so."""
    room = new_room()
    worker = room.worker(slots=64)
    normal(worker, "few", 20)
    room.turn(2)
    detailed(worker, "few", 2)
    attach(room.directory).settings.set_mode(in_detail)
    room.turn(2)
    assert [(row["ended_by"], row["calls"]) for row in reports(room)] == [("mode", 2)]
    assert mode_of(room) == (in_detail, False)
    room.turn(3)
    assert mode_of(room) == (in_detail, False)


def test_a_mode_that_was_on_stays_on_and_its_parameters_whole(new_room: NewRoom) -> None:
    """A run in a session that somebody has switched to optimization mode takes nothing away."""
    room = new_room(CONFIG.replace("run_calls", "enabled: true, run_calls"))
    worker = room.worker(slots=64)
    detailed(worker, "few", 20)
    room.turn(2)
    assert mode_of(room) == (True, True)
    whole = detailed(worker, "all", 8, text="x" * 300)
    room.turn(3)
    assert [row["calls"] for row in reports(room)] == [8]
    assert mode_of(room) == (True, False)
    room.finish()
    lines = {line["id"]: line for line in room.lines("all")}
    assert [len(lines[call]["params"]["text"]) for call in whole] == [300] * 8


def test_time_ends_a_run_also_without_a_call(new_room: NewRoom) -> None:
    """After run_seconds there is a report; a collector that was killed keeps the same end."""
    room = new_room()
    worker = room.worker(slots=64)
    normal(worker, "few", 20)
    room.turn(2)
    room.clock.now_s += 55
    room.kill()
    room.turn(2)
    assert mode_of(room) == (True, True)
    room.clock.now_s += 6
    room.turn(2)
    assert [(row["ended_by"], row["calls"]) for row in reports(room)] == [("time", 0)]
    assert mode_of(room) == (False, False)


def test_the_end_of_a_session_ends_its_run(new_room: NewRoom) -> None:
    """Its report is of what was seen by then; the calls that were open are aborted ones."""
    room = new_room()
    worker = room.worker(slots=64)
    normal(worker, "few", 20)
    room.turn(2)
    detailed(worker, "few", 3)
    worker.begin("few", in_detail=True)
    room.finish()
    (report,) = reports(room)
    assert (report["ended_by"], report["calls"]) == ("session", 3)
    assert report["tools"]["few"]["aborted"] == 1
    assert mode_of(room) == (False, False)


def test_a_program_that_is_over_at_the_threshold_leaves_no_report(new_room: NewRoom) -> None:
    """A run that nobody asked for and that saw no call tells nothing."""
    room = new_room()
    worker = room.worker(slots=64)
    normal(worker, "few", 20)
    room.turn(2)
    assert mode_of(room) == (True, True)
    room.finish()
    assert reports(room) == []
    assert room.stats_on_disk()["total_calls"] == 20
    assert mode_of(room) == (False, False)


def test_a_run_that_was_asked_for_and_saw_nothing_says_so(new_room: NewRoom) -> None:
    """In a sentence, and without advice."""
    room = new_room()
    normal(room.worker(slots=64), "few", 3)
    room.turn(2)
    ask(room, "one", seconds=5.0)
    room.finish()
    (report,) = reports(room)
    assert (report["calls"], report["ended_by"], report["advice"]) == (0, "session", [])
    assert "which the end of the session cut short" in report["note"]


def test_a_run_of_a_session_that_has_gone_ends_with_its_report(new_room: NewRoom) -> None:
    """A storage whose collector and session were killed in a run has a report with the next."""
    room = new_room()
    worker = room.worker(slots=64)
    normal(worker, "few", 20)
    room.turn(2)
    detailed(worker, "few", 2)
    room.turn(1)
    marks = room.collector.ledger.analyses.of(Optimization)
    assert marks.run is not None
    marks.run.session = marks.marks.session = "another"
    marks.note()
    room.collector.commit()
    room.session.settings.set_mode(False)
    room.kill()
    room.turn(2)
    assert [(row["ended_by"], row["calls"]) for row in reports(room)] == [("session", 2)]
    assert mode_of(room) == (False, False)


def test_a_word_that_no_run_holds_is_released(new_room: NewRoom) -> None:
    """Whatever has become of the journal, no session is stuck in optimization mode."""
    room = new_room()
    room.session.settings.hold()
    room.turn(1)
    assert mode_of(room) == (False, False)
    room.session.settings.set_mode(True)
    room.session.settings.hold()
    room.turn(1)
    assert mode_of(room) == (True, False)


def test_a_folder_that_can_t_be_written_costs_the_file_alone(new_room: NewRoom) -> None:
    """The run ends, who waits has the report, it is told, and history goes on."""
    room = new_room()
    worker = room.worker(slots=64)
    normal(worker, "few", 3)
    room.turn(2)
    (room.storage / "optimization").write_text("in the way")
    ask(room, "a", calls=1)
    seen = detailed(worker, "few", 1)
    room.turn(3)
    over = ask(room, "a")
    assert over.is_over
    assert (over.report or {})["calls"] == 1
    assert "can't be written" in over.problem
    assert over.problem in room.collector.parts.faults.told.values()
    assert mode_of(room) == (False, False)
    assert not room.collector.disk.reason
    room.finish()
    assert room.ids("few").keys() == set(seen)


def test_storage_that_is_away_ends_the_run_all_the_same(new_room: NewRoom) -> None:
    """With nothing that can be written a run ends, and its report is answered."""
    room = new_room()
    worker = room.worker(slots=64)
    normal(worker, "few", 3)
    room.turn(2)
    with storage_gone(room):
        ask(room, "a", calls=1)
        detailed(worker, "few", 1)
        room.turn(3)
        assert (ask(room, "a").report or {})["calls"] == 1
        assert mode_of(room) == (False, False)
    room.turn(3)
    room.stats()


def test_more_calls_than_are_kept_are_counted(
    new_room: NewRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of further calls the figures of their tools are known, and the report says so."""
    monkeypatch.setattr("shmperf.analysis.optimization.MOST_SEEN", 3)
    room = new_room()
    worker = room.worker(slots=64)
    ask(room, "a", calls=8)
    detailed(worker, "few", 5)
    room.turn(2)
    detailed(worker, "few", 3)
    room.turn(2)
    (report,) = reports(room)
    assert (report["calls"], report["unseen"], report["tools"]["few"]["count"]) == (8, 5, 8)
    assert "of 5 calls only the figures" in report["note"]


class Runs:
    """Calls in the mode that the session is in, by a collector that may be killed at any point."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.worker = room.worker(slots=128)
        self.ids: dict[str, list[str]] = {"few": [], "all": []}

    def call(self) -> None:
        """Three calls of each tool."""
        in_detail, _ = mode_of(self.room)
        for tool in ("few", "all"):
            self.ids[tool] += (detailed if in_detail else normal)(self.worker, tool, 3)

    def turn(self) -> None:
        """A round, which may be the collector's last."""
        try:
            self.room.turn()
        except Killed:
            self.room.kill()

    def check(self) -> None:
        """No call is missing or there twice, and no run is left over."""
        room = self.room
        room.collector.disk.uses_left = 0
        room.finish()
        assert mode_of(room) == (False, False)
        assert room.collector.ledger.analyses.of(Optimization).run is None
        assert room.ids("all") == Counter(self.ids["all"])
        few = room.ids("few")
        assert few == Counter(self.ids["few"][-len(few) :])
        assert 1 <= len(few) <= KEPT
        found = room.stats_on_disk()
        assert found["total_calls"] == sum(map(len, self.ids.values()))


@pytest.mark.parametrize("last", range(1, 41))
def test_killed_around_any_write_a_run_has_one_report(runtime: Path, last: int) -> None:
    """Just before or after the n-th write: the next collector finishes the run, and only once."""
    with a_room(CONFIG) as room:
        runs = Runs(room)
        for _ in range(3):
            runs.call()
            runs.turn()
        room.collector.disk.uses_left = last
        for _ in range(6):
            runs.call()
            runs.turn()
        runs.check()
        (report,) = reports(room)
        assert report["trigger"] == "threshold"
        assert 1 <= report["calls"] <= 8


NAMES = "call call turn turn turn kill doom ask end detail normal wait flush"
STEPS = st.lists(st.sampled_from(NAMES.split()), max_size=40)


@settings(max_examples=60, print_blob=True, deadline=None)
@given(STEPS, st.integers(1, 20))
def test_whatever_happens_no_run_is_stuck(steps: list[str], last: int) -> None:
    """Calls, requests, switches of the mode and kills in any order: every run has one report."""
    with a_room(CONFIG) as room:
        runs = Runs(room)
        asked = 0
        for number, step in enumerate(steps):
            try:
                if step in {"call", "turn"}:
                    getattr(runs, step)()
                elif step == "kill":
                    room.kill()
                elif step == "doom":
                    room.collector.disk.uses_left = last
                elif step in {"ask", "end"}:
                    asked += 1
                    ask(room, f"{number}", calls=4)
                    if step == "end":
                        ask(room, f"{number}", ends=True)
                elif step in {"detail", "normal"}:
                    room.session.settings.set_mode(step == "detail")
                elif step == "wait":
                    room.clock.now_s += 61
                else:
                    room.collector.flush()
            except Killed:
                room.kill()
        room.collector.disk.uses_left = 0
        room.session.settings.set_mode(False)
        runs.call()
        room.turn(2)
        runs.check()
        assert len(reports(room)) <= asked + 2
