"""What changed: which calls are on which side, and that none is on both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmperf.analysis.diff import Earlier
from shmperf.query.answers import Answers, find_answers, request_for
from shmperf.query.changed import changed, measured_between, measured_in
from shmperf.testing import Room, ScriptedWorker

CALLS = 200
MS = 10**6


@pytest.fixture
def room(tmp_path: Path, runtime: Path) -> Iterator[Room]:
    made = Room(tmp_path, runtime)
    yield made
    made.close()


def work(room: Room, worker: ScriptedWorker, **durations_ms: int) -> None:
    for _ in range(CALLS):
        for tool, duration_ms in durations_ms.items():
            call = worker.begin(tool)
            room.pass_ns(duration_ms * MS)
            worker.end(call)
    room.turn()


def at_rest(room: Room) -> Answers:
    room.finish()
    storage = str(room.storage)
    return find_answers(
        request_for(session=None, storage=storage, config=None, environ=dict(os.environ))
    )


def wall_s(room: Room) -> float:
    return (room.tick() + room.offset_ns) / 1e9


def two_runs(room: Room) -> tuple[Answers, float]:
    """A run, two minutes in which nothing is called, a run in which one of two is slower."""
    worker = room.worker(slots=256, budget_bytes=64 << 20)
    work(room, worker, child=1, other=1, left=1)
    for _ in range(12):
        room.wait(10)
        room.turn()
    begin_s = wall_s(room)
    work(room, worker, child=4, other=1, added=1)
    return at_rest(room), begin_s


def test_a_run_is_compared_with_the_one_before(room: Room) -> None:
    """At rest the last pause divides them: each call is on one side."""
    answers, begin_s = two_runs(room)
    found = changed(answers)
    verdicts = {tool: one.verdict for tool, one in found.tools.items()}
    assert verdicts == {"added": "new", "child": "slower", "left": "gone", "other": "same"}
    child = found.tools["child"]
    assert child.a is not None
    assert child.b is not None
    assert (child.a.calls, child.b.calls) == (CALLS, CALLS)
    assert child.change.p50 is not None
    assert child.change.p50.ratio == pytest.approx(4, rel=0.1)
    assert found.since_s is not None
    assert begin_s - 30 <= found.since_s <= begin_s


def test_a_time_has_the_calls_that_began_in_its_intervals(room: Room) -> None:
    """Since a time, until a time; what lies before the day before is on no side."""
    answers, begin_s = two_runs(room)
    since = changed(answers, begin_s // 30 * 30)
    assert since.tools["child"].verdict == "slower"
    first = changed(answers, 0, begin_s - 60)
    # Nothing was before: that all of it is new tells nobody anything.
    assert first.tools == {}
    assert changed(answers, begin_s + 86_400 + 60).tools == {}
    assert changed(answers, 100, 50).tools == {}


def test_an_earlier_run_that_was_named_is_what_it_is_compared_with(room: Room) -> None:
    """All that is recorded, against all that was; a time that is asked for goes before."""
    answers, begin_s = two_runs(room)
    answers.earlier = Earlier("before", measured_between(answers, None, begin_s - 60))
    found = changed(answers)
    assert (found.against, found.since_s) == ("before", None)
    side = found.tools["child"].b
    assert side is not None
    assert side.calls == 2 * CALLS == measured_in(answers)["child"].totals.count
    assert changed(answers, begin_s).against == "the day before"


def test_nothing_recorded_has_not_changed(room: Room) -> None:
    """A storage without a call has no sides."""
    room.worker()
    room.turn()
    assert changed(at_rest(room)).tools == {}
