"""Intervals beside totals: the same calls, by when they ended, whoever is killed and whenever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis import aging
from shmperf.analysis.packedtotals import IntervalTotals
from shmperf.analysis.timeline import LENGTH_NS
from shmperf.analysis.totals import Totals
from shmperf.session.messages import IntervalsOf
from shmperf.shm.record import Outcome
from shmperf.storage.state import load
from shmperf.testing import Room, ScriptedWorker

from .lab import a_room, storage_gone
from .test_exactly_once import MANY, Story
from .test_outbox import OutboxStory, Reader

LENGTH_S = LENGTH_NS / 1e9


def counts(room: Room, tool: str = "all") -> list[tuple[float, int]]:
    """When each interval began, in intervals since the first, and how many calls it has."""
    spans = room.collector.ledger.intervals.view(tool).spans()
    found = [(span.start_s / LENGTH_S, span.tools[tool].count) for span in spans]
    return [(start - found[0][0], count) for start, count in found]


def begin_an_interval(room: Room) -> None:
    """The wall clock comes to the beginning of an interval."""
    room.offset_ns += LENGTH_NS - (room.offset_ns + room.tick()) % LENGTH_NS
    room.kill()


class TimedStory(Story):
    """A story in which time passes."""

    def waits(self, worker: ScriptedWorker, count: int) -> None:
        self.room.wait(count * 7)

    def waits_long(self, worker: ScriptedWorker, count: int) -> None:
        self.room.wait(count * 1_000)

    def goes_back(self, worker: ScriptedWorker, count: int) -> None:
        self.room.offset_ns -= count * 10**11
        self.room.kill()

    def check(self) -> None:
        super().check()
        ledger, damage = load(self.room.storage, self.room.collector.options)
        assert damage is None
        found = ledger.intervals.view().totals()
        known = ledger.totals.known
        assert found.keys() == known.keys()
        for tool, totals in found.items():
            expected = IntervalTotals.of(known[tool], totals.covered_ns)
            assert totals == expected
            assert 0 <= totals.covered_ns <= totals.sum_ns


STEPS = ["few", "all", "nested", "nested", "opens", "closes", "dies", "turns", "turns", "flushes"]
MORE = ["cleanup", "killed", "doomed", "waits", "waits", "waits_long", "goes_back"]
TOLD = [*STEPS, "cleanup", "killed", "doomed", "doomed", "waits", "waits", "reads", "reads_in_vain"]
HAPPENINGS = st.lists(
    st.tuples(st.sampled_from([*STEPS, *MORE]), st.integers(0, 1), st.integers(1, 14)), max_size=30
)


@MANY
@given(HAPPENINGS)
def test_all_intervals_together_are_the_totals(happenings: list[tuple[str, int, int]]) -> None:
    """Whoever is killed, and wherever the clock goes: each call is in exactly one interval."""
    with a_room() as room:
        story = TimedStory(room)
        for what in happenings:
            story.happen(what)
        story.check()


def test_a_batch_over_a_boundary_counts_on_both_sides(room: Room) -> None:
    """A call counts in the interval in which it ended, whenever it is drained, errors as well."""
    worker = room.worker()
    begin_an_interval(room)
    for _ in range(3):
        worker.call("all")
    room.wait(LENGTH_S)
    worker.call("all")
    worker.end(worker.begin("all"), kind=Outcome.ERROR)
    room.turn()
    assert counts(room) == [(0, 3), (1, 2)]
    spans = room.collector.ledger.intervals.view().spans()
    assert [span.tools["all"].errors for span in spans] == [0, 1]


def test_calls_that_a_dead_collector_left_count_when_they_ended(room: Room) -> None:
    """A collector that was away for ten minutes finds the calls of then in their intervals."""
    worker = room.worker()
    begin_an_interval(room)
    worker.call("all")
    room.turn()
    for _ in range(20):
        room.wait(LENGTH_S)
        worker.call("all" if worker.begun < 9 else "few")
    room.kill()
    room.turn(3)
    assert counts(room) == [(n, 1) for n in range(9)]
    assert counts(room, "few") == [(n, 1) for n in range(12)]


def test_own_time_is_without_that_of_children(room: Room) -> None:
    """Known when the call has settled, a moment after the interval's end as well."""
    worker = room.worker()
    begin_an_interval(room)
    parent = worker.begin("all")
    child = worker.begin("few", parent.id)
    room.wait(5)
    worker.end(child)
    room.wait(LENGTH_S - 6)
    worker.end(parent)
    room.wait(1)
    room.turn(4)
    (span,) = room.collector.ledger.intervals.view().spans()
    assert span.tools["few"].own_ns == pytest.approx(5e9, rel=1e-3)
    assert span.tools["all"].own_ns == pytest.approx(24e9, rel=1e-3)


def test_what_is_recorded_in_a_run_counts_in_no_interval(room: Room) -> None:
    """Totals know it; own time and what settles after the run is left out as well."""
    worker = room.worker()
    worker.call("all")
    room.turn()
    room.collector.ingest.dating.in_run = True
    parent = worker.begin("all")
    worker.call("few", parent=parent.id)
    worker.end(parent)
    room.turn()
    late = worker.begin("all")
    worker.end(late)
    room.wait(1)
    room.collector.ingest.dating.in_run = False
    worker.call("all")
    room.turn(4)
    totals = room.collector.ledger.intervals.view().totals()
    assert (totals["all"].count, totals["all"].covered_ns) == (2, 0)
    assert "few" not in totals
    assert room.stats("all")["count"] == 4


def test_an_interval_is_closed_though_nothing_happens(room: Room) -> None:
    """A moment after its end, and journalled: a restart knows it as closed."""
    worker = room.worker()
    begin_an_interval(room)
    worker.call("all")
    room.turn()
    room.wait(LENGTH_S)
    room.turn()
    assert list(room.collector.ledger.intervals.closed_after(0)) == []
    room.wait(1)
    room.turn()
    ((number, _),) = room.collector.ledger.intervals.closed_after(0)
    room.kill()
    assert [known for known, _ in room.collector.ledger.intervals.closed_after(0)] == [number]


def test_aborted_calls_count_when_their_worker_is_buried(room: Room) -> None:
    """They have no end; intervals know how many there were."""
    worker = room.worker()
    worker.begin("all")
    worker.die()
    room.turn(3)
    assert room.collector.ledger.intervals.view().totals()["all"].aborted == 1


def test_a_cleanup_forgets_intervals(room: Room) -> None:
    """What comes behind it is counted, from the disk as well."""
    worker = room.worker()
    worker.call("all")
    room.turn()
    room.collector.cleanup()
    assert room.collector.ledger.intervals.view().totals() == {}
    worker.call("few")
    room.finish()
    ledger, _ = load(room.storage, room.collector.options)
    assert {name: one.count for name, one in ledger.intervals.view().totals().items()} == {"few": 1}


def test_a_question_gets_the_intervals_of_its_time(room: Room) -> None:
    """In Unix seconds, of one tool or of all, with what has just ended."""
    worker = room.worker()
    begin_an_interval(room)
    start_s = (room.offset_ns + room.tick()) / 1e9
    worker.call("all")
    room.wait(LENGTH_S)
    worker.call("few")
    ask = room.collector.requests.value_for
    assert set(ask(IntervalsOf()).totals()) == {"all", "few"}
    assert set(ask(IntervalsOf("few")).totals()) == {"few"}
    assert set(ask(IntervalsOf(None, start_s + LENGTH_S)).totals()) == {"few"}
    assert set(ask(IntervalsOf(None, None, start_s + 1)).totals()) == {"all"}


# --- what consumers of the outbox are told --------------------------------------------------------


class ToldStory(OutboxStory):
    """A story in which time passes, with a reader who adds up what he is told of intervals."""

    def waits(self, worker: ScriptedWorker, count: int) -> None:
        self.room.wait(count * 7)

    def check(self) -> None:
        super().check()
        self.room.wait(3 * LENGTH_S)
        self.room.kill()
        self.room.turn(2)
        self.room.collector.flush()
        reader = self.reader
        reader.restart()
        reader.read_all()
        lines = [line for line in reader.records if line["kind"] == "totals"]
        told = Counter((line["tool"], line["from"]) for line in lines)
        assert not told or max(told.values()) == 1
        if not self.has_cleaned:
            known = self.room.collector.ledger.totals.known
            assert {line["tool"] for line in lines} == known.keys()
            for tool, totals in known.items():
                told_of = _sum_of(line for line in lines if line["tool"] == tool)
                assert msgspec.structs.replace(totals, last_ended_ns=0) == told_of


def _sum_of(lines: Iterable[dict[str, Any]]) -> Totals:
    """What lines of one tool say together; when the last call ended they do not say."""
    found = Totals()
    for line in lines:
        assert sum(line["histogram"].values()) + line["zero_count"] == line["count"]
        assert line["own_ns"] <= line["sum_ns"]
        part = Totals(
            *(line[key] for key in ("count", "errors", "aborted", "sampled_out", "sum_ns")),
            *(line[key] for key in ("min_ns", "max_ns", "zero_count")),
            {int(bucket): count for bucket, count in line["histogram"].items()},
        )
        found.merge(part)
    return found


@MANY
@given(st.lists(st.tuples(st.sampled_from(TOLD), st.integers(0, 1), st.integers(1, 14))))
def test_every_interval_is_told_once(happenings: list[tuple[str, int, int]]) -> None:
    """Collector or consumer killed at any point: all lines together are the totals."""
    with a_room() as room:
        story = ToldStory(room)
        for what in happenings:
            story.happen(what)
        story.check()


def test_many_tools_are_told_in_pieces(room: Room) -> None:
    """More than one piece has room for: each tool once, and a flush waits for all of them."""
    reader = Reader(room.storage)
    worker = room.worker(budget_bytes=32 << 20)
    begin_an_interval(room)
    for n in range(600):
        worker.call(f"tool{n}")
    room.turn()
    room.wait(LENGTH_S + 2)
    room.turn()
    room.collector.flush()
    reader.read_all()
    told = [line["tool"] for line in reader.records if line["kind"] == "totals"]
    assert sorted(told) == sorted(f"tool{n}" for n in range(600))


def test_who_comes_later_is_told_of_later_intervals(room: Room) -> None:
    """Without a consumer nothing is written, and nothing waits for one."""
    worker = room.worker()
    begin_an_interval(room)
    worker.call("all")
    room.turn()
    room.wait(LENGTH_S + 2)
    room.turn(2)
    reader = Reader(room.storage)
    worker.call("few")
    room.turn()
    room.wait(LENGTH_S + 2)
    room.turn(2)
    room.collector.flush()
    reader.read_all()
    lines = [line for line in reader.records if line["kind"] == "totals"]
    assert [(line["tool"], line["count"]) for line in lines] == [("few", 1)]
    begin, end = (datetime.fromisoformat(lines[0][key]) for key in ("from", "to"))
    assert (end - begin).total_seconds() == LENGTH_S
    assert begin.timestamp() % LENGTH_S == 0


def test_what_aged_while_the_storage_was_away_is_counted_as_untold(room: Room) -> None:
    """Lines of an interval that was merged meanwhile can't be written: a fault says how many."""
    reader = Reader(room.storage)
    worker = room.worker()
    begin_an_interval(room)
    worker.call("all")
    room.turn()
    with storage_gone(room):
        room.wait(2 * 3600)
        worker.call("all")
        room.turn(3)
        room.wait(2 * 3600)
        room.turn(3)
    room.turn(8)
    room.collector.flush()
    worker.call("all")
    room.turn()
    room.wait(2 * LENGTH_S)
    room.turn(3)
    room.collector.flush()
    reader.read_all()
    assert room.collector.ledger.state.faults["totals_untold"] >= 1
    room.stats()


def test_what_is_let_go_for_want_of_room_is_a_fault(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted once, also over a restart, and told in words by `status`."""
    none = tuple(length._replace(most_bytes=0) for length in aging.LENGTHS)
    monkeypatch.setattr(aging.Kept.__init__, "__defaults__", (none,))
    room.kill()
    worker = room.worker()
    for _ in range(5):
        worker.call("all")
        room.turn()
        room.wait(LENGTH_S + 3)
        room.turn(2)
    room.turn(4)
    known = room.collector.ledger.intervals.view().totals()
    let_go = 5 - sum(totals.count for totals in known.values())
    assert let_go > 0
    room.stats()
    assert room.collector.ledger.state.faults["intervals_let_go"] == let_go
    room.kill()
    room.turn(2)
    assert room.collector.ledger.state.faults["intervals_let_go"] == let_go
    assert room.collector.ledger.intervals.view().let_go == let_go
