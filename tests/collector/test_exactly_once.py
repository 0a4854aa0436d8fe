"""Every call is kept exactly once, whoever is killed at whatever point."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.shm.record import DETAIL
from shmperf.storage.state import Ledger, load
from shmperf.testing import BegunCall, Room, ScriptedWorker

from .lab import FEW, LIMITS, Killed, a_room


class Story:
    """What a sequence of happenings must have led to in the end."""

    def __init__(self, room: Room, times: int = 1) -> None:
        """Of the tool that keeps all, so many *times* the calls."""
        self.room = room
        self.times = times
        self.team = [room.worker(), room.worker()]
        self.finished: dict[str, list[str]] = defaultdict(list)
        self.aborted: dict[str, list[str]] = defaultdict(list)
        self.lost = self.forgotten = 0
        self.left_out: Counter[str] = Counter()
        self.open: list[tuple[ScriptedWorker, BegunCall]] = []

    def happen(self, what: tuple[str, int, int]) -> None:
        name, who, count = what
        try:
            getattr(self, name)(self.team[who % len(self.team)], count)
        except Killed:
            self.room.kill()
            if name == "cleanup":
                # It came to pass or it did not; a second one leaves no doubt.
                getattr(self, name)(self.team[0], count)

    def few(self, worker: ScriptedWorker, count: int) -> None:
        self._calls(worker, "few", count)

    def all(self, worker: ScriptedWorker, count: int) -> None:
        self._calls(worker, "all", count * self.times)

    def samples(self, worker: ScriptedWorker, count: int) -> None:
        for tool in ("all", "few")[: count % 2 + 1]:
            worker.leave_out(tool, count)
            self.left_out[tool] += count
        self._calls(worker, "all", count % 2)

    def nested(self, worker: ScriptedWorker, count: int) -> None:
        parent = worker.begin("all")
        for _ in range(count % 3):
            self._end(worker, worker.begin("all", parent.id))
        self._end(worker, parent, in_detail=True)

    def opens(self, worker: ScriptedWorker, count: int) -> None:
        self.open.append((worker, worker.begin("all")))

    def closes(self, worker: ScriptedWorker, count: int) -> None:
        if self.open:
            self._end(*self.open.pop(0))

    def dies(self, worker: ScriptedWorker, count: int) -> None:
        worker.die()
        for owner, call in self.open:
            if owner is worker:
                self.aborted["all"].append(call.hex)
        self.open = [(owner, call) for owner, call in self.open if owner is not worker]
        self.team[self.team.index(worker)] = self.room.worker()

    def turns(self, worker: ScriptedWorker, count: int) -> None:
        self.room.turn(count % 5)

    def flushes(self, worker: ScriptedWorker, count: int) -> None:
        self.room.collector.flush()

    def cleanup(self, worker: ScriptedWorker, count: int) -> None:
        self.room.collector.cleanup()
        self.finished.clear()
        self.aborted.clear()
        self.left_out.clear()
        self.lost = 0
        self.forgotten = self.room.begun - len(self.open)

    def killed(self, worker: ScriptedWorker, count: int) -> None:
        self.room.kill(torn=bool(count % 2))

    def doomed(self, worker: ScriptedWorker, count: int) -> None:
        self.room.collector.disk.uses_left = count

    def check(self) -> None:
        room = self.room
        for worker, call in self.open:
            self.aborted["all"].append(call.hex)
            assert worker.is_alive
        room.collector.disk.uses_left = 0
        room.finish()
        expected = self.finished["all"] + self.aborted["all"]
        assert room.ids("all") == Counter(expected)
        assert [line["id"] for line in room.lines("few")] == self.finished["few"][-FEW:]
        stats = room.stats_on_disk()
        assert stats["begun"] == room.begun - self.forgotten
        assert sum(stats["lost"].values()) == self.lost
        assert stats["in_flight"] == 0
        assert stats["faults"].keys() <= {"journal_damaged", "clock_set_back"}
        rows = stats["tool_stats"]
        counts = {name: row["count"] for name, row in rows.items() if row["count"]}
        recorded = Counter({name: len(ids) for name, ids in self.finished.items() if ids})
        assert counts == recorded + self.left_out
        left_out = {name: row["sampled_out"] for name, row in rows.items() if row["sampled_out"]}
        assert left_out == self.left_out
        assert stats["aborted"] == len(self.aborted["all"])
        assert [
            line["status"] for line in room.lines("all") if line["id"] in self.aborted["all"]
        ] == ["aborted"] * len(self.aborted["all"])

    def _calls(self, worker: ScriptedWorker, tool: str, count: int) -> None:
        for _ in range(count):
            self._end(worker, worker.begin(tool))

    def _end(self, worker: ScriptedWorker, call: BegunCall, *, in_detail: bool = False) -> None:
        body = msgspec.msgpack.encode({"n": 1})
        kind = 0
        if in_detail:
            body, kind = msgspec.msgpack.encode(({"n": 1}, None, None, None, None, None)), DETAIL
        if worker.end(call, body, kind):
            self.finished[call.tool].append(call.hex)
        else:
            self.lost += 1


HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "few",
                "all",
                "samples",
                "nested",
                "opens",
                "closes",
                "dies",
                "turns",
                "turns",
                "flushes",
                "cleanup",
                "killed",
                "doomed",
            ]
        ),
        st.integers(0, 1),
        st.integers(1, 14),
    ),
    max_size=30,
)


MANY = settings(max_examples=80, print_blob=True)


@MANY
@given(HAPPENINGS)
def test_every_id_is_on_disk_exactly_once(happenings: list[tuple[str, int, int]]) -> None:
    """Whatever is called, flushed, cleaned or killed, in any order: no line twice or missing."""
    with a_room() as room:
        story = Story(room)
        for what in happenings:
            story.happen(what)
        story.check()


@pytest.mark.parametrize("last", range(1, 31))
def test_killed_around_any_write_costs_and_doubles_nothing(last: int) -> None:
    """A collector that is killed just before or after its n-th write: the next one has it all."""
    with a_room() as room:
        story = Story(room)
        story.happen(("doomed", 0, last))
        for turn in range(4):
            for what in (("all", 0, 9), ("few", 1, 9), ("nested", 0, 2), ("opens", 1, 1)):
                story.happen(what)
            story.happen(("samples", turn, 7))
            story.happen(("turns", 0, 3))
            story.happen(("flushes", 0, 1))
            story.happen(("dies", turn, 1))
            story.happen(("turns", 0, 4))
        story.check()


SEGMENTS = f"{LIMITS}history: {{segment_lines: 100}}\n"


@settings(max_examples=40, print_blob=True, deadline=None)
@given(HAPPENINGS)
def test_every_id_is_on_disk_exactly_once_in_segments_too(
    happenings: list[tuple[str, int, int]],
) -> None:
    """The same where lines move into segments meanwhile."""
    with a_room(SEGMENTS) as room:
        story = Story(room, times=25)
        for what in happenings:
            story.happen(what)
        story.check()


@pytest.mark.parametrize("last", range(1, 61))
def test_killed_as_lines_move_costs_and_doubles_nothing(last: int) -> None:
    """A collector that is killed around any step of a segment's way: the next one has it all."""
    with a_room(SEGMENTS) as room:
        story = Story(room, times=25)
        story.happen(("doomed", 0, last))
        for turn in range(4):
            for what in (("all", 0, 9), ("turns", 0, 2), ("flushes", 0, 1), ("turns", 0, 4)):
                story.happen(what)
            story.happen(("dies", turn, 1))
            story.happen(("all", 1, 3))
            story.happen(("turns", 0, 4))
        story.check()
        assert list(room.storage.glob("all_perf.0*.zst"))


@pytest.mark.parametrize("last", range(1, 13))
def test_cleanup_killed_anywhere_comes_to_pass_or_does_not(last: int) -> None:
    """After a kill in a cleanup history and statistics are both there or both gone."""
    with a_room() as room:
        worker = room.worker()
        for n in range(10):
            worker.call("all", n)
        room.collector.flush()
        room.turn(4)
        room.collector.flush()
        room.collector.disk.uses_left = last
        try:
            room.collector.cleanup()
        except Killed:
            pass
        room.kill()
        room.turn(2)
        assert (room.stats()["total_calls"], len(room.lines("all"))) in {(10, 10), (0, 0)}
        worker.call("all")
        room.finish()
        assert len(room.lines("all")) == room.stats_on_disk()["total_calls"]


@MANY
@given(HAPPENINGS)
def test_replaying_the_journal_gives_the_live_state(
    happenings: list[tuple[str, int, int]],
) -> None:
    """At any moment a reader of the journal arrives at the state that the collector holds."""
    with a_room() as room:
        story = Story(room)
        for what in happenings:
            story.happen(what)
            room.collector.disk.uses_left = 0
            room.collector.commit()
            found, damage = load(room.storage, room.collector.options)
            assert not damage
            assert comparable(found) == comparable(room.collector.ledger)


def comparable(ledger: Ledger) -> Any:
    """
    A ledger's whole state as plain values, without what order says nothing about.

    The tree is journalled with the next frame that changes anything else; its graph says the same.
    """
    graph = [msgspec.to_builtins(edge) for edge in ledger.tree.graph({})]
    plain = msgspec.to_builtins(ledger.state)
    known = [ledger.totals.known, ledger.errors.known, ledger.unusual.known]
    analyses = {"known": msgspec.to_builtins(known), "graph": graph}
    return {**plain, "buried": sorted(plain["buried"]), "analyses": analyses}


def test_a_ring_that_was_left_is_forgotten_only_once_it_is_journalled(room: Room) -> None:
    """A collector killed between reading a replaced ring and journalling it costs no record."""
    worker = room.worker(slots=16)
    for n in range(12):
        worker.call("all", n)
    room.turn(2)
    for n in range(12, 16):
        worker.call("all", n)
    worker.grow("all")
    worker.call("all", 16)
    # No time has passed since the last frame, and no ring is half full.
    assert room.collector.step() == 5
    room.kill()
    room.turn(2)
    assert room.stats()["total_calls"] == 17
    room.finish()
    assert set(room.ids("all").values()) == {1}
