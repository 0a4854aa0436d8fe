"""From calls to alerts in a collector: what begins and ends one, told once whoever is killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.analysis.alerts import Alerts, shown
from shmperf.collector import watching
from shmperf.session.messages import Status
from shmperf.shm.record import Outcome
from shmperf.storage.alertfile import ALERTS
from shmperf.storage.consumer import Consumer
from shmperf.testing import BegunCall, Room, ScriptedWorker

from .lab import Killed, a_room

CONFIG = "anomaly: {interval_seconds: 1}\nstorage: {batch_size: 20}\n"
MS = 1_000_000


@pytest.fixture
def room() -> Iterator[Room]:
    """A room in which all is timed by one clock."""
    with a_room(CONFIG) as found:
        yield found


def opened(room: Room) -> list[tuple[str, str | None]]:
    """What is open now."""
    alerts = room.collector.ledger.analyses.of(Alerts).open
    return [(kind, tool) for kind, tool in alerts]


def written(room: Room) -> list[dict[str, Any]]:
    """The lines of the file."""
    path = room.storage / ALERTS
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def call(worker: ScriptedWorker, room: Room, took_ns: int, *, fails: bool = False) -> None:
    """An ``answer`` that does nothing but ``search``; both fail or neither."""
    kind = Outcome.ERROR if fails else Outcome.OK
    outer = worker.begin("answer")
    inner = worker.begin("search", parent=outer.id)
    room.pass_ns(took_ns)
    worker.end(inner, kind=kind)
    worker.end(outer, kind=kind)


def work(worker: ScriptedWorker, room: Room, seconds: int, took_ns: int, fails: int = 0) -> None:
    """So many *seconds* with 60 calls each, of which some fail."""
    for _ in range(seconds):
        for place in range(60):
            # A machine's own unevenness.
            call(worker, room, took_ns + place % 7 * took_ns // 50, fails=place < fails)
            if place % 8 == 7:
                room.turn()
        room.wait(0.5)
        room.turn()


def test_slow_child_is_one_alert_with_begin_and_end(room: Room) -> None:
    """A planted slowdown of the tool that all time goes into is told once, its caller beside it."""
    worker = room.worker(slots=64)
    work(worker, room, 45, 2 * MS)
    assert opened(room) == []
    work(worker, room, 12, 8 * MS)
    assert opened(room) == [("latency", "search")]
    work(worker, room, 20, 2 * MS)
    room.turn(3)
    assert opened(room) == []
    begun, ended = written(room)
    assert (begun["kind"], begun["tool"], begun["ended"]) == ("latency", "search", None)
    assert ended["id"] == begun["id"]
    assert ended["ended"] > begun["began"]
    assert ended["evidence"]["explains"] == ["answer"]
    assert 3 < begun["evidence"]["now"] / begun["evidence"]["usual"] < 5


def test_failing_child_is_one_alert(room: Room) -> None:
    """Errors travel up: the tool that raises is told, its caller is not."""
    worker = room.worker(slots=64)
    work(worker, room, 30, 2 * MS)
    work(worker, room, 10, 2 * MS, fails=20)
    assert opened(room) == [("errors", "search")]
    (begun,) = written(room)
    assert begun["severity"] == "critical"


def test_status_says_who_is_learning(room: Room) -> None:
    """Too little is known of a new tool, and that is said."""
    worker = room.worker(slots=64)
    work(worker, room, 10, 2 * MS)
    status = room.collector.requests.value_for(Status())
    assert set(status.learning) == {"answer", "search"}
    assert all(0 < share < 1 for share in status.learning.values())


def test_groups_that_come_late_say_so(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more tools than a look takes, each has its turn, and what it tells of began in time."""
    monkeypatch.setattr(watching, "_PIECE", 4)
    monkeypatch.setattr(watching, "_MOST_PIECE", 4)
    worker = room.worker(slots=64)
    tools = [f"tool {number}" for number in range(16)]

    def second(kind: int) -> None:
        for tool in tools:
            for _ in range(20):
                worker.end(worker.begin(tool), kind=kind)
        room.turn()
        room.wait(1.1)
        room.turn()

    for _ in range(25):
        second(Outcome.OK)
    assert opened(room) == []
    wrong_s = room.collector.parts.wall.now_ns() / 1e9
    for _ in range(10):
        second(Outcome.ERROR)
    alerts = room.collector.ledger.analyses.of(Alerts).open
    assert {tool for kind, tool in alerts if kind == "errors"} == set(tools)
    began_s = [alert.began_s for (kind, _), alert in alerts.items() if kind == "errors"]
    assert max(began_s) <= wrong_s
    # A turn in four looks, two seconds apart here: no group is longer.
    assert min(began_s) >= wrong_s - 10.0


def hang(worker: ScriptedWorker, room: Room) -> list[BegunCall]:
    """Sixty quick calls, then one that calls another, and neither ends."""
    for _ in range(60):
        call(worker, room, 2 * MS)
        room.turn()
    outer = worker.begin("answer")
    inner = worker.begin("search", parent=outer.id)
    room.wait(3.0)
    room.turn(3)
    return [inner, outer]


def test_stuck_call_is_told_with_its_callers(room: Room) -> None:
    """The innermost call that hangs, who called it and where; over when it ends."""
    worker = room.worker(slots=64)
    inner, outer = hang(worker, room)
    (begun,) = written(room)
    assert (begun["kind"], begun["tool"]) == ("stuck", "search")
    evidence = begun["evidence"]
    assert evidence["id"] == inner.hex
    assert evidence["chain"] == ["answer"]
    assert evidence["running_s"] > evidence["limit_s"] >= 1.0
    assert evidence["params"] is None
    worker.end(inner, msgspec.msgpack.encode({"n": 7, "token": "hidden"}))
    worker.end(outer, msgspec.msgpack.encode({"n": 8}))
    room.wait(2.0)
    room.turn(3)
    begun, ended = written(room)
    assert begun["ended"] is None
    assert ended["ended"] > begun["began"]
    evidence = ended["evidence"]
    assert json.loads(evidence["params"]) == {"n": 7, "token": "***"}
    assert (evidence["outcome"], evidence["params_cut"]) == ("ok", False)
    assert evidence["took_s"] > 3.0
    assert evidence["params"] in ended["text"]


@pytest.mark.parametrize("in_detail", [False, True])
def test_parameters_of_a_stuck_call_are_cut(room: Room, in_detail: bool) -> None:
    """However large they are, an alert holds a summary; and how it failed."""
    worker = room.worker(slots=64)
    inner, _ = hang(worker, room)
    if in_detail:
        worker.end_in_detail(inner, {"text": "x" * 100})
    else:
        worker.end_in_blob(inner, msgspec.msgpack.encode({"text": "x" * 100_000}))
    room.wait(2.0)
    room.turn(3)
    evidence = written(room)[-1]["evidence"]
    assert evidence["params"].startswith('{"text":')
    assert len(evidence["params"]) <= 200
    assert evidence["params_cut"] is not in_detail
    assert evidence["outcome"] == ("error" if in_detail else "ok")
    assert evidence.get("err") == ("ValueError" if in_detail else None)


def test_end_of_a_stuck_call_is_in_the_frame_of_its_record(room: Room) -> None:
    """Drained, journalled, killed before anybody looked: the alert's end has it all the same."""
    worker = room.worker(slots=64)
    inner, _ = hang(worker, room)
    worker.end(inner, msgspec.msgpack.encode({"n": 7}))
    room.turn()
    room.collector.commit()
    room.kill()
    room.wait(2.0)
    room.turn(3)
    assert json.loads(written(room)[-1]["evidence"]["params"]) == {"n": 7}
    assert room.stats()["total_calls"] + 1 == room.begun


def test_lost_end_of_a_stuck_call_is_an_end(room: Room) -> None:
    """There is no record of it: the alert is over all the same, a look later."""
    worker = room.worker(slots=64)
    for _ in range(60):
        call(worker, room, 2 * MS)
        room.turn()
    begun = worker.begin("search")
    room.wait(3.0)
    room.turn(3)
    assert opened(room) == [("stuck", "search")]
    for _ in range(100):
        worker.call("search")
    assert not worker.end(begun)
    for _ in range(3):
        room.wait(1.5)
        room.turn(3)
    assert ("stuck", "search") not in opened(room)
    ended = next(line for line in written(room) if line["ended"])
    assert ended["evidence"]["params"] is None


def test_flood_of_stuck_calls_is_one_alert(room: Room) -> None:
    """All calls of a tool that hang are one trouble; what is quick or new is none."""
    worker = room.worker(slots=64)
    hang(worker, room)
    for _ in range(40):
        worker.begin("search")
    worker.begin("unknown")
    room.wait(5.0)
    room.turn(3)
    assert opened(room) == [("stuck", "search")]


def test_stuck_call_of_a_dead_worker_is_over(room: Room) -> None:
    """Its call is aborted: nothing hangs any more."""
    worker = room.worker(slots=64)
    hang(worker, room)
    worker.die()
    room.wait(2.0)
    room.turn(4)
    assert opened(room) == []
    _, ended = written(room)
    assert (ended["evidence"]["outcome"], ended["evidence"]["params"]) == ("aborted", None)


def lose_calls(room: Room) -> None:
    """More calls than a ring holds, between two looks: the alert is open."""
    worker = room.worker(slots=16)
    worker.call("search")
    room.wait(2.0)
    room.turn(4)
    for _ in range(40):
        worker.call("search")
    room.wait(2.0)
    room.turn(4)
    assert opened(room) == [("lost", None)]


def test_losses_are_told_by_cause(room: Room) -> None:
    """Calls without a record are one alert, and over when no more are lost for a while."""
    lose_calls(room)
    (begun,) = written(room)
    assert sum(begun["evidence"]["lost"].values()) > 0
    for _ in range(20):
        room.wait(20.0)
        room.turn()
    room.turn(2)
    assert opened(room) == []


def test_switched_off_nothing_is_open(tmp_path: Path) -> None:
    """An edited configuration ends what is open, and nothing begins."""
    del tmp_path
    with a_room(CONFIG) as room:
        worker = room.worker(slots=64)
        hang(worker, room)
        assert opened(room)
        room.config.write_text("anomaly: {enabled: false}\n")
        room.wait(2.0)
        room.turn(6)
        assert opened(room) == []
        assert written(room)[-1]["evidence"]["reason"] == "switched off"


def test_switched_on_again_what_goes_on_begins_anew(room: Room) -> None:
    """A tool that is still slow is told of again: whoever looks then sees that it is."""
    worker = room.worker(slots=64)
    work(worker, room, 45, 2 * MS)
    work(worker, room, 12, 8 * MS)
    assert opened(room) == [("latency", "search")]
    room.config.write_text("anomaly: {enabled: false, interval_seconds: 1}\n")
    work(worker, room, 6, 8 * MS)
    assert opened(room) == []
    room.config.write_text(CONFIG)
    work(worker, room, 20, 8 * MS)
    assert opened(room) == [("latency", "search")]
    assert [line["ended"] is None for line in written(room)] == [True, False, True]


def test_silence_that_goes_on_is_told_of_again(room: Room) -> None:
    """The same for a tool that is called no more."""
    worker = room.worker(slots=64)
    run(worker, room, 60, "search", "poll")
    run(worker, room, 15, "poll")
    assert silent(room) == [("silence", "search")]
    room.config.write_text("anomaly: {enabled: false, interval_seconds: 1}\n")
    run(worker, room, 4, "poll")
    assert silent(room) == []
    room.config.write_text(CONFIG)
    run(worker, room, 20, "poll")
    assert silent(room) == [("silence", "search")]


def test_losses_are_over_five_minutes_after_the_last_also_after_a_restart(room: Room) -> None:
    """A collector that is killed does not end what it can't know to be over."""
    lose_calls(room)
    room.kill()
    for _ in range(5):
        room.wait(20.0)
        room.turn(2)
    assert opened(room) == [("lost", None)]
    for _ in range(20):
        room.wait(20.0)
        room.turn()
    room.turn(2)
    assert opened(room) == []


def test_cleanup_ends_what_is_open_and_deletes_the_file(room: Room) -> None:
    """Who was told of a begin is told of an end, in a file of its own."""
    worker = room.worker(slots=64)
    hang(worker, room)
    (begun,) = written(room)
    room.collector.cleanup()
    room.turn()
    assert [(line["id"], line["ended"] is None) for line in written(room)] == [(begun["id"], False)]


def test_open_alerts_outlive_the_collector(room: Room) -> None:
    """kill -9: what was open is open, and is not told again."""
    worker = room.worker(slots=64)
    hang(worker, room)
    for _ in range(3):
        room.kill(torn=True)
        room.wait(2.0)
        room.turn(3)
    assert opened(room) == [("stuck", "search")]
    assert [line["ended"] for line in written(room) if "kind" in line] == [None]


@pytest.mark.parametrize("last", range(1, 30))
def test_killed_around_any_write_tells_each_change_once(last: int) -> None:
    """A collector killed just before or after its n-th write: file and outbox have each once."""
    with a_room(CONFIG) as room:
        consumer = Consumer(room.storage, "reader")
        consumer.register()
        worker = room.worker(slots=64)
        for _ in range(60):
            call(worker, room, 2 * MS)
            room.turn()
        room.wait(1.0)
        room.turn(4)
        disk: Any = room.collector.disk
        disk.uses_left = last
        begun = [worker.begin("search") for _ in range(3)]
        tried(room, lambda: room.wait(3.0))
        for one in begun:
            worker.end(one)
        tried(room, lambda: room.wait(2.0))
        lines = Counter((line["id"], line["ended"] is None) for line in written(room))
        assert sorted(lines.values()) == [1, 1]
        assert written(room)[-1]["evidence"]["outcome"] == "ok"
        taken = consumer.read()
        assert taken is not None
        told = [json.loads(line)["alert"] for line in taken.lines if b'"kind":"alert"' in line]
        assert [(one["id"], one["ended"] is None) for one in told] == list(lines)
        assert room.stats()["total_calls"] == room.begun


def tried(room: Room, pass_time: Callable[[], None]) -> None:
    """Time passes and the collector works, a new one where the old one is killed."""
    pass_time()
    for _ in range(2):
        try:
            room.turn(6)
            return
        except Killed:
            room.kill()
            room.wait(1.5)


def test_what_is_shown_is_what_is_written(room: Room) -> None:
    """Status, answers and file have one shape."""
    worker = room.worker(slots=64)
    hang(worker, room)
    (alert,) = room.collector.ledger.analyses.of(Alerts).open.values()
    assert json.loads(json.dumps(written(room)[0])) == {
        name: getattr(shown(alert), name) for name in shown(alert).__struct_fields__
    }


def run(worker: ScriptedWorker, room: Room, seconds: int, *tools: str) -> None:
    """So many *seconds* in which each of *tools* is called some times."""
    for _ in range(seconds):
        for tool in tools:
            worker.call(tool)
        room.wait(1.1)
        room.turn()


def silent(room: Room) -> list[tuple[str, str | None]]:
    """The silences that are open."""
    return [key for key in opened(room) if key[0] == "silence"]


def test_tool_that_stops_is_told(room: Room) -> None:
    """Its worker is there and calls others: it is silent, until it is called again."""
    worker = room.worker(slots=64)
    run(worker, room, 60, "search", "poll")
    run(worker, room, 4, "poll")
    assert silent(room) == []
    run(worker, room, 10, "poll")
    assert silent(room) == [("silence", "search")]
    run(worker, room, 3, "search", "poll")
    assert silent(room) == []
    begun, ended = written(room)
    assert begun["evidence"]["silent_s"] > begun["evidence"]["limit_s"]
    assert ended["evidence"]["reason"] == "called again"


def test_caller_that_stops_explains_what_it_calls(room: Room) -> None:
    """All that stops at once is one trouble, and the outermost tool is told."""
    worker = room.worker(slots=64)
    for _ in range(60):
        call(worker, room, 2 * MS)
        room.wait(1.1)
        room.turn()
    run(worker, room, 20, "poll")
    assert silent(room) == [("silence", "answer")]
    (alert,) = room.collector.ledger.analyses.of(Alerts).open.values()
    assert alert.evidence["explains"] == ["search"]


def test_tool_that_runs_is_not_silent(room: Room) -> None:
    """A call that is open for long is stuck, if anything."""
    worker = room.worker(slots=64)
    run(worker, room, 60, "search", "poll")
    begun = worker.begin("search")
    run(worker, room, 40, "poll")
    assert silent(room) == []
    worker.end(begun)


def test_tool_whose_worker_has_gone_is_not_silent(room: Room) -> None:
    """A program has ended, and another goes on with its own tools."""
    worker, other = room.worker(slots=64), room.worker(slots=64)
    for _ in range(60):
        run(worker, room, 1, "search")
        other.call("poll")
    worker.die()
    run(other, room, 40, "poll")
    assert silent(room) == []


def test_silence_is_over_when_its_worker_goes(room: Room) -> None:
    """Nobody is left who could call it."""
    worker, other = room.worker(slots=64), room.worker(slots=64)
    for _ in range(60):
        run(worker, room, 1, "search")
        other.call("poll")
    run(other, room, 15, "poll")
    assert silent(room) == [("silence", "search")]
    worker.die()
    run(other, room, 5, "poll")
    assert silent(room) == []
    assert written(room)[-1]["evidence"]["reason"] == "no worker has it"


def test_silence_outlives_the_collector(room: Room) -> None:
    """kill -9: it is open, told once, and ends with the next call."""
    worker = room.worker(slots=64)
    run(worker, room, 60, "search", "poll")
    run(worker, room, 15, "poll")
    room.kill(torn=True)
    run(worker, room, 15, "poll")
    assert silent(room) == [("silence", "search")]
    run(worker, room, 3, "search", "poll")
    assert silent(room) == []
    assert [line["ended"] is None for line in written(room)] == [True, False]
