"""The cycle as a whole: cleanups, and settings that change while it runs."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from shmperf.analysis.anomaly import UNUSUAL, Finding
from shmperf.collector import cycle
from shmperf.collector.pace import Pressure, Waits
from shmperf.session.messages import Status
from shmperf.session.server import Pending, Server
from shmperf.testing import Room, ScriptedWorker

from .lab import new_room


def test_cleanup_cuts_between_what_had_ended_and_what_is_open(room: Room) -> None:
    """After it the books are those of calls that end later, also for the next collector."""
    worker = room.worker(slots=4)
    opened = worker.begin("all")
    for n in range(10):
        worker.call("all", n)
    room.turn(2)
    room.collector.flush()
    room.collector.cleanup()
    assert room.lines("all") == []
    for _ in range(2):
        stats = room.stats()
        assert (stats["begun"], stats["in_flight"], stats["total_calls"]) == (1, 1, 0)
        assert stats["lost"] == stats["tool_stats"] == stats["faults"] == {}
        room.kill()
    worker.end(opened)
    later = worker.call("all")
    room.finish()
    assert room.ids("all") == Counter([opened.hex, later.hex])
    assert room.stats_on_disk()["begun"] == 2


def test_cleanup_forgets_what_was_kept(room: Room) -> None:
    """A tool that was forgotten has no call, no record and no file, and may come again."""
    worker = room.worker()
    for n in range(5):
        worker.call("few", n)
    room.turn()
    room.collector.flush()
    room.collector.cleanup()
    assert room.stats("few")["current_size"] == 0
    assert room.stats("few")["count"] == 0
    worker.call("few")
    assert room.stats("few")["current_size"] == 1
    room.collector.flush()
    assert room.stats("few")["current_size"] == 1
    assert len(room.lines("few")) == 1


def test_cleanup_deletes_only_files_that_are_listed(room: Room) -> None:
    """What somebody else put into the directory, or in the place of a file, stays."""
    worker = room.worker()
    worker.call("all")
    worker.call("few")
    room.turn()
    room.collector.flush()
    foreign = room.storage / "foreign_perf.jsonl"
    foreign.write_text("{}\n")
    exchanged = room.storage / "few_perf.jsonl"
    aside = room.storage / "aside"
    aside.write_text("mine\n")
    aside.replace(exchanged)
    room.collector.cleanup()
    assert not (room.storage / "all_perf.jsonl").exists()
    assert foreign.read_text() == "{}\n"
    assert exchanged.read_text() == "mine\n"


def test_changed_limits_are_taken_up(room: Room) -> None:
    """An edited file holds from the next look on: for what is kept, for files, for the workers."""
    worker = room.worker()
    for n in range(10):
        worker.call("few", n)
    room.turn(2)
    generation = room.session.word[0] >> 8
    room.config.write_text("tool_limits: {few: 1}\n")
    room.clock.now_s += 2
    room.turn()
    assert room.session.word[0] >> 8 == generation + 1
    assert room.session.settings.reload().limit_of("few") == 1
    assert room.stats("few")["max_size"] == 1
    last = worker.call("few", 99)
    room.finish()
    assert [line["id"] for line in room.lines("few")] == [last.hex]


def test_broken_edit_is_told_once_and_the_old_settings_stay(room: Room) -> None:
    """A file that became wrong changes nothing and is one fault, until it is mended."""
    room.clock.now_s += 2
    room.turn()
    before = room.collector.options
    room.config.write_text("default_perf_pionts: 7\n")
    for _ in range(5):
        room.clock.now_s += 2
        room.turn()
    assert room.collector.options == before
    status = room.collector.requests.value_for(Status())
    assert status.faults["config"] == 1
    assert "default_perf_points" in status.told["config"]
    room.config.write_text("default_perf_points: 7\n")
    room.clock.now_s += 2
    room.turn()
    assert room.collector.options.default_perf_points == 7
    assert "config" not in room.collector.requests.value_for(Status()).told


def test_an_edited_sampling_interval_holds_while_it_runs(room: Room) -> None:
    """How often workers are sampled follows the file, as every other key does."""
    sampler = room.collector.parts.sampler
    assert sampler.interval_s == 5
    room.turn()
    room.config.write_text("collector: {sample_interval_seconds: 90}\n")
    room.clock.now_s += 2
    room.turn()
    assert sampler.interval_s == 90


def test_a_switched_mode_is_journalled(room: Room) -> None:
    """Who reads the disk finds the mode that the session was in, whether somebody asked or not."""
    room.turn()
    assert room.stats_on_disk()["mode"] == "normal"
    room.session.settings.set_mode(True)
    room.turn()
    assert room.stats_on_disk()["mode"] == "optimization"
    room.session.settings.set_mode(False)
    room.turn()
    assert room.stats_on_disk()["mode"] == "normal"


def test_only_the_cycle_builds_frames() -> None:
    """Parts of the collector note what they change; one line makes a frame of it."""
    built = [
        path.name
        for path in Path(cycle.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Frame"
    ]
    assert built == ["frames.py"]


def test_waits_grow_until_rings_fill() -> None:
    """The cycle looks ever more rarely, and at once more often where a look finds rings filling."""
    waits = Waits(busy_s=0.001)
    assert waits.next_s(0.002, Pressure.NONE, 0.2) == pytest.approx(0.003)
    assert waits.next_s(0.19, Pressure.NONE, 0.2) == 0.2
    assert waits.next_s(0.19, Pressure.NONE, 0.2, is_watched=True) == 0.04
    assert waits.next_s(0.2, Pressure.SOME, 0.2) == 0.1
    assert waits.next_s(0.2, Pressure.MUCH, 0.2) == 0.05
    assert waits.next_s(0.001, Pressure.MUCH, 0.2) == 0.001
    assert waits.next_s(0.0, Pressure.NONE, 0.2) == 0.001


class NotingServer(Server):
    """Ends a cycle after so many waits, none of which takes any time."""

    def __init__(self, directory: Path, stop: Callable[[], None], most: int) -> None:
        super().__init__(directory)
        self.waited: list[float] = []
        self._stop, self._most = stop, most

    def wait(self, timeout_s: float) -> list[Pending]:
        self.waited.append(timeout_s)
        if len(self.waited) == self._most:
            self._stop()
        return super().wait(0.0)


def test_after_a_flush_in_pieces_the_cycle_waits_as_before(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a flush is behind nothing is waited for, and afterwards the waits grow on."""
    monkeypatch.setattr("shmperf.collector.flusher._PIECE", 2)
    room = new_room(tmp_path, runtime, "rag: {enabled: false}\n")
    try:
        worker, collector = room.worker(), room.collector
        for tool in "abcdefg":
            worker.call(tool)
        room.turn()
        collector.begin_flush()
        collector.server.close()
        collector.server = server = NotingServer(room.directory, collector.stop, 30)
        collector.run()
        behind = server.waited.count(0.0)
        assert 0 < behind < 10
        assert server.waited[:behind] == [0.0] * behind
        assert min(server.waited[behind:]) > collector.waits.busy_s
        assert server.waited[-1] == collector.options.collector.idle_wait_ms / 1000
    finally:
        room.close()


@pytest.mark.parametrize(
    ("slots", "calls", "pressed"),
    [
        (16, 16, False),
        (256, 200, False),
        (1024, 255, False),
        (1024, 256, True),
        (8192, 2047, False),
        (8192, 2048, True),
    ],
)
def test_a_large_ring_that_fills_is_pressure(
    room: Room, slots: int, calls: int, pressed: bool
) -> None:
    """Small rings grow without a loss; a fourth of a large one calls for an earlier look."""
    worker = room.worker(slots=slots)
    for _ in range(calls):
        worker.call("all")
    room.turn()
    assert room.collector.roster.is_pressed() == pressed
    assert not room.collector.roster.is_pressed()


@pytest.mark.parametrize(("calls", "pressed"), [(7, False), (8, True)])
def test_many_small_rings_that_fill_at_once_are_pressure(
    room: Room, calls: int, *, pressed: bool
) -> None:
    """All would grow at once, and there is no memory for that: half of all calls for a look."""
    worker = room.worker(slots=16)
    for tool in range(40):
        for _ in range(calls):
            worker.call(f"tool {tool}")
    room.turn()
    assert room.collector.roster.is_pressed() == pressed


def test_what_is_read_of_many_rings_is_released_by_a_third_of_all(
    tmp_path: Path, runtime: Path
) -> None:
    """None of them is half full, but between two looks all would be."""
    room = new_room(tmp_path, runtime)
    try:
        worker, collector = room.worker(slots=16), room.collector
        for tool in range(100):
            worker.call(f"tool {tool}")
        room.turn(2)
        for calls, commits in ((3, False), (3, True)):
            for tool in range(100):
                for _ in range(calls):
                    worker.call(f"tool {tool}")
            known = collector.ledger.totals.known["tool 7"].count
            collector.step()
            assert (collector.ledger.totals.known["tool 7"].count > known) == commits
    finally:
        room.close()


def test_frames_are_few_and_what_programs_are_told_does_not_wait_for_one(
    tmp_path: Path, runtime: Path
) -> None:
    """Slots are handed back when half a ring is read, findings are told in their round."""
    room = new_room(tmp_path, runtime)
    try:
        worker, collector = room.worker(slots=16), room.collector
        room.turn(2)
        for _ in range(7):
            worker.call("all")
        assert collector.step() == 7
        assert "all" not in collector.ledger.totals.known
        worker.call("all")
        collector.step()
        assert collector.ledger.totals.known["all"].count == 8
        worker.call("all")
        collector.ledger.unusual.add(Finding("all", 1, 1, 10**18, 9, 1, 2, 50))
        collector.step()
        assert collector.ledger.totals.known["all"].count == 9
        assert (room.directory / UNUSUAL).exists()
    finally:
        room.close()


def steps_of(work: Callable[[], object]) -> int:
    """How many functions *work* calls."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def steps_of_a_call(room: Room, worker: ScriptedWorker) -> int:
    """The same for a round with one call that follows another one."""
    worker.call("all")
    room.turn()
    worker.call("all")
    return steps_of(room.collector.step)


def add_blocks(worker: ScriptedWorker, count: int) -> None:
    """Rows for many calls at once."""
    first = worker.session.next_blocks(count)
    for block in range(first, first + count):
        worker.ready[:0] = worker.segment.add_rows(block) or []


def test_a_peak_of_open_calls_costs_nothing_once_it_is_over(room: Room) -> None:
    """A round costs what is in use, not what a worker once had open; the books stay whole."""
    worker = room.worker(slots=256)
    room.turn(40)
    before = steps_of_a_call(room, worker)
    add_blocks(worker, 100)
    peak = [worker.begin("all") for _ in range(len(worker.ready))]
    for call in peak:
        worker.end(call)
        if call.id % 97 == 0:
            room.turn()
    room.turn(40)
    assert steps_of_a_call(room, worker) < before + 100
    # Rows that nobody has looked at for long: a frame still counts them as begun.
    worker.call("all")
    worker.ready.reverse()
    for _ in range(70):
        worker.call("all")
    assert room.collector.step() == 71
    room.collector.commit()
    assert room.stats_on_disk()["in_flight"] == 0
    assert room.stats()["begun"] == worker.begun


def test_it_is_known_since_when_is_counted(room: Room) -> None:
    """Since the storage's begin or the last cleanup, through restarts."""
    worker = room.worker()
    worker.call("all")
    room.turn()
    state = room.collector.parts.ledger.state
    first_ns = state.since_ns
    room.pass_ns(10**9)
    assert 0 < first_ns < room.collector.parts.wall.now_ns()
    worker.call("all")
    room.kill()
    assert room.collector.parts.ledger.state.since_ns == first_ns
    room.collector.cleanup()
    cleaned_ns = room.collector.parts.ledger.state.since_ns
    assert cleaned_ns >= first_ns + 10**9
    worker.call("all")
    room.kill()
    assert room.collector.parts.ledger.figures(None, 0, complete=True).since_ns == cleaned_ns


def test_thrifty_rounds_leave_rings_that_have_little_until_that_is_worth_a_pass(room: Room) -> None:
    """Who asks is told of all of it meanwhile; with few tools nothing waits."""
    worker, tools = room.worker(), [f"tool_{number}" for number in range(40)]
    collector, clock = room.collector, room.clock

    def call_each() -> None:
        for tool in tools:
            worker.call(tool)

    call_each()
    clock.now_s += 0.5
    assert collector.step(thrifty=True) == 40
    call_each()
    clock.now_s += 0.5
    assert collector.step(thrifty=True) == 0
    assert room.stats()["total_calls"] == 80
    call_each()
    clock.now_s += 1.25
    assert collector.step(thrifty=True) == 0
    clock.now_s += 0.5
    assert collector.step(thrifty=True) == 40
    worker.call(tools[0])
    clock.now_s += 2.0
    assert collector.step(thrifty=True) == 1
    worker.call(tools[0])
    assert collector.step(thrifty=True) == 1
    worker.call(tools[0])
    assert collector.step() == 1
