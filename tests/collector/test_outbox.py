"""The outbox beside history: every line once and in order, whatever is killed and whenever."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.errors import StoreError
from shmperf.files import internals
from shmperf.storage.consumer import Consumer
from shmperf.testing import Room, ScriptedWorker

from .lab import a_room, new_room
from .test_exactly_once import MANY, Story

BOUND = 1 << 20


class Reader:
    """What another system has got from a consumer that is killed now and then."""

    def __init__(self, storage: Path, name: str = "reader") -> None:
        self.storage, self.name = storage, name
        self.consumer = Consumer(storage, name)
        self.consumer.register()
        # By number: a line that is sent again comes under the same one.
        self.got: dict[int, bytes] = {}
        self.dropped = 0

    def read(self, most: int = 1000, *, acknowledge: bool = True) -> bool:
        """Take what is there; a line that is sent twice is the same both times."""
        taken = self.consumer.read(most)
        if taken is None:
            return False
        for number, line in enumerate(taken.lines, taken.number):
            assert self.got.setdefault(number, line) == line
        if acknowledge:
            self.consumer.acknowledge(taken)
            self.dropped += taken.dropped
        return acknowledge

    def restart(self) -> None:
        """kill -9, and another process of the same name."""
        self.consumer.close()
        self.consumer = Consumer(self.storage, self.name)
        self.consumer.register()

    def read_all(self) -> None:
        """To the end."""
        while self.read():
            pass

    @property
    def records(self) -> list[dict[str, Any]]:
        """What has come, in order."""
        return [json.loads(self.got[number]) for number in sorted(self.got)]

    @property
    def ids(self) -> list[str]:
        """The calls that have come, in order."""
        return [record["data"]["id"] for record in self.records if record["kind"] == "call"]


class OutboxStory(Story):
    """A story with a reader in it."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.reader = Reader(room.storage)
        self.has_cleaned = False

    def reads(self, worker: ScriptedWorker, count: int) -> None:
        self.reader.read(count)

    def reads_in_vain(self, worker: ScriptedWorker, count: int) -> None:
        self.reader.read(count, acknowledge=False)
        self.reader.restart()

    def cleanup(self, worker: ScriptedWorker, count: int) -> None:
        self.has_cleaned = True
        super().cleanup(worker, count)

    def check(self) -> None:
        super().check()
        reader = self.reader
        reader.restart()
        reader.read_all()
        assert reader.dropped == 0
        assert sorted(reader.got) == list(range(len(reader.got)))
        ids = Counter(reader.ids)
        assert not ids or max(ids.values()) == 1
        history = [line["id"] for line in [*self.room.lines("all"), *self.room.lines("few")]]
        assert set(history) <= ids.keys()
        if not self.has_cleaned:
            everything = {*self.finished["all"], *self.aborted["all"]}
            assert ids.keys() - set(self.finished["few"]) == everything


STEPS = ["few", "all", "nested", "opens", "closes", "dies", "turns", "turns", "flushes"]
MORE = ["cleanup", "killed", "doomed", "reads", "reads_in_vain"]
HAPPENINGS = st.lists(
    st.tuples(st.sampled_from([*STEPS, *MORE]), st.integers(0, 1), st.integers(1, 14)), max_size=30
)


@MANY
@given(HAPPENINGS)
def test_every_line_comes_once_and_in_order(happenings: list[tuple[str, int, int]]) -> None:
    """Whoever is killed, collector or consumer: no line is missing, twice or out of order."""
    with a_room() as room:
        story = OutboxStory(room)
        for what in happenings:
            story.happen(what)
        story.check()


@pytest.mark.parametrize("last", range(1, 41))
def test_killed_around_any_write_hands_on_every_line_once(last: int) -> None:
    """A collector killed just before or after its n-th write: readers notice nothing."""
    with a_room() as room:
        story = OutboxStory(room)
        story.happen(("doomed", 0, last))
        for turn in range(4):
            for what in (("all", 0, 9), ("few", 1, 9), ("nested", 0, 2), ("reads", 0, 5)):
                story.happen(what)
            story.happen(("turns", 0, 3))
            story.happen(("flushes", 0, 1))
            story.happen(("reads_in_vain", turn, 3))
            story.happen(("turns", 0, 4))
        story.check()


def test_nothing_is_written_without_a_consumer(room: Room) -> None:
    """No directory, no file; and none any more once the last one has gone."""
    worker = room.worker()
    worker.call("all")
    flush(room)
    assert not outbox(room).exists()
    reader = Reader(room.storage)
    worker.call("all")
    flush(room)
    reader.read_all()
    assert len(reader.ids) == 1
    reader.consumer.unregister()
    worker.call("all")
    flush(room)
    assert not list(outbox(room).glob("*.jsonl"))
    assert len(room.lines("all")) == 3


def test_consumer_gets_what_is_flushed_after_it_came(room: Room) -> None:
    """Two consumers go on at their own pace, each from where it came in."""
    worker = room.worker()
    first = Reader(room.storage, "first")
    worker.call("all")
    flush(room)
    second = Reader(room.storage, "second")
    worker.call("all")
    flush(room)
    first.read_all()
    second.read_all()
    assert (len(first.ids), len(second.ids)) == (2, 1)
    assert first.ids[1:] == second.ids
    assert [record["tool"] for record in first.records] == ["all", "all"]


WANTED = {
    "fleet": "fleet: {url: 'nats://127.0.0.1:1'}",
    "otlp": "export: {otlp: {endpoint: 'http://127.0.0.1:1'}}",
    "webhook": "anomaly: {enabled: true, webhook: 'http://127.0.0.1:1'}",
}


@pytest.mark.parametrize("name", WANTED)
def test_a_session_s_first_lines_are_for_whoever_is_wanted(
    name: str, tmp_path: Path, runtime: Path
) -> None:
    """Its process comes up when it does: it begins with the first call, and misses no later one."""
    config = f"tool_limits: {{few: 3}}\nstorage: {{batch_size: 20}}\n{WANTED[name]}\n"
    room = new_room(tmp_path, runtime, config)
    try:
        worker = room.worker()
        for _ in range(50):
            worker.call("few")
            room.turn()
        flush(room)
        reader = Reader(room.storage, name)
        reader.read_all()
        assert (len(reader.ids), reader.dropped) == (50, 0)
    finally:
        room.close()


def test_disk_is_bounded_and_what_went_is_counted(tmp_path: Path, runtime: Path) -> None:
    """Beyond ``storage.outbox_bytes`` the oldest goes: read + dropped is all that was flushed."""
    room = new_room(
        tmp_path, runtime, f"tool_limits: {{all: -1}}\nstorage: {{outbox_bytes: {BOUND}}}\n"
    )
    try:
        quick, slow = Reader(room.storage, "quick"), Reader(room.storage, "slow")
        worker = room.worker(slots=1024)
        made = 0
        for round_ in range(30):
            for _ in range(300):
                made += worker.call("all", "x" * 100) is not None
            flush(room)
            quick.read_all()
            used = sum(path.stat().st_size for path in outbox(room).iterdir())
            assert used < BOUND + (256 << 10)
            if round_ == 0:
                slow.read(10)
        told = room.collector.disk.consumers()
        assert told["quick"].lag == told["quick"].dropped == 0
        assert told["slow"].lag + told["slow"].dropped + 10 == made
        assert told["slow"].dropped > 0 < told["slow"].lag_bytes
        slow.read_all()
        assert len(quick.ids) == made
        assert len(slow.ids) + slow.dropped == made
        assert slow.ids == [*quick.ids[:10], *quick.ids[-len(slow.ids) + 10 :]]
        assert slow.consumer.dropped == slow.dropped
    finally:
        room.close()


def test_outbox_that_can_not_be_written_is_in_nobodys_way(tmp_path: Path, runtime: Path) -> None:
    """History is written all the same; the lines that are missing are counted by who reads."""
    room = new_room(tmp_path, runtime)
    try:
        reader = Reader(room.storage)
        worker = room.worker()
        worker.call("all")
        flush(room)
        (file,) = outbox(room).glob("*.jsonl")
        aside = tmp_path / "aside"
        file.rename(aside)
        file.mkdir()
        worker.call("all")
        flush(room)
        stats = room.stats()
        assert stats["faults"]["outbox_failed"] == 1
        assert len(room.lines("all")) == 2
        file.rmdir()
        aside.rename(file)
        worker.call("all")
        flush(room)
        reader.read_all()
        assert len(reader.ids) == 2
        assert reader.dropped == 1
    finally:
        room.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"next": -1}', b'{"next": "x"}', b"\0" * 5000, b'{"next": 999999}'],
)
def test_damaged_cursor_costs_no_line(room: Room, content: bytes) -> None:
    """Its consumer begins with the oldest line: better twice than never."""
    reader = Reader(room.storage)
    worker = room.worker()
    for _ in range(3):
        worker.call("all")
        flush(room)
    reader.read(2)
    (outbox(room) / "reader.cursor").write_bytes(content)
    assert room.collector.disk.consumers()["reader"].problem
    worker.call("all")
    flush(room)
    again = Reader(room.storage, "again")
    reader.restart()
    reader.read_all()
    assert len(reader.ids) == 4
    assert reader.dropped == 0
    assert not again.read()


def test_journal_that_is_lost_keeps_the_lines(room: Room) -> None:
    """Files that no journal lists are taken up, and numbers go on behind them."""
    reader = Reader(room.storage)
    worker = room.worker()
    for _ in range(3):
        worker.call("all")
        flush(room)
    reader.read(1)
    for path in internals(room.storage).glob("journal.[0-9]*"):
        path.write_bytes(b"nonsense")
    (internals(room.storage) / "snapshot").unlink()
    room.kill()
    worker.call("all")
    flush(room)
    reader.read_all()
    numbers = sorted(reader.got)
    assert numbers == list(range(len(numbers)))
    assert len(set(reader.ids)) >= 4
    assert reader.dropped == 0


def test_numbers_never_go_back(room: Room) -> None:
    """Without journal and files readers who have read all get what comes then."""
    reader = Reader(room.storage)
    worker = room.worker()
    for _ in range(3):
        worker.call("all")
        flush(room)
    reader.read_all()
    lose_journal_and_lines(room)
    room.kill()
    room.worker().call("all")
    flush(room)
    reader.read_all()
    assert max(reader.got) >= 3
    assert len(set(reader.ids)) >= 4


def test_outbox_that_begins_anew_is_read_from_its_start(room: Room) -> None:
    """A reader that runs meanwhile notices, and goes on; what it has sent stays counted."""
    reader = Reader(room.storage)
    worker = room.worker()
    for _ in range(3):
        worker.call("all")
        flush(room)
    reader.read_all()
    lose_journal_and_lines(room)
    (outbox(room) / "committed").unlink()
    room.kill()
    last = room.worker().call("all")
    flush(room)
    reader.got.clear()
    reader.read_all()
    assert last is not None
    assert last.hex in reader.ids
    assert reader.consumer.sent == 3 + len(reader.ids)


def test_cleanup_leaves_what_waits(room: Room) -> None:
    """History is deleted; what a consumer has not read yet still comes, and what follows, too."""
    reader = Reader(room.storage)
    worker = room.worker()
    worker.call("all")
    flush(room)
    room.collector.cleanup()
    assert not list(room.storage.glob("*.jsonl"))
    worker.call("all")
    flush(room)
    reader.read_all()
    assert len(reader.ids) == 2
    assert reader.dropped == 0


@pytest.mark.parametrize("name", ["reader.cursor", "committed", "file", "reader.lock"])
def test_links_are_not_followed(tmp_path: Path, runtime: Path, name: str) -> None:
    """What a link in the outbox leads to is neither read nor written; history goes on."""
    room = new_room(tmp_path, runtime)
    secret = tmp_path / "secret"
    secret.write_bytes(b'{"next": 0, "sent": 77}')
    try:
        reader = Reader(room.storage)
        worker = room.worker()
        worker.call("all")
        flush(room)
        (file,) = outbox(room).glob("*.jsonl")
        path = file if name == "file" else outbox(room) / name
        path.unlink()
        path.symlink_to(secret)
        worker.call("all")
        flush(room)
        assert len(room.lines("all")) == 2
        assert reader.consumer.sent == 0
        assert secret.read_bytes() == b'{"next": 0, "sent": 77}'
        assert not path.is_symlink() or name != "committed"
        if name == "reader.lock":
            reader.consumer.close()
            with pytest.raises(StoreError, match=r"reader\.cursor"):
                reader.restart()
            return
        reader.restart()
        if name == "file":
            with pytest.raises(StoreError, match="outbox"):
                reader.read()
            path.unlink()
        reader.read_all()
        assert len(reader.ids) + reader.dropped == 2
        assert secret.read_bytes() == b'{"next": 0, "sent": 77}'
    finally:
        room.close()


def test_directory_that_is_a_link_is_not_written_into(tmp_path: Path, runtime: Path) -> None:
    """Nobody counts as registered there, and no line is written."""
    room = new_room(tmp_path, runtime)
    try:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "reader.cursor").write_bytes(b'{"next": 0}')
        worker = room.worker()
        worker.call("all")
        outbox(room).symlink_to(elsewhere)
        flush(room)
        assert len(room.lines("all")) == 1
        assert [path.name for path in elsewhere.iterdir()] == ["reader.cursor"]
        with pytest.raises(StoreError, match="not ours"):
            Reader(room.storage)
    finally:
        room.close()


def test_lines_are_acknowledged_in_order(room: Room) -> None:
    """Twice, or without those before them: refused, and the cursor stays."""
    consumer = Reader(room.storage).consumer
    worker = room.worker()
    for _ in range(2):
        worker.call("all")
    flush(room)
    first = consumer.read(1)
    assert first is not None
    consumer.acknowledge(first)
    with pytest.raises(ValueError, match="line 1 is the next one, not 0"):
        consumer.acknowledge(first)
    assert consumer.sent == 1
    rest = consumer.read()
    assert rest is not None
    assert (rest.number, len(rest.lines)) == (1, 1)


def lose_journal_and_lines(room: Room) -> None:
    """Somebody deletes what the collector would go by."""
    for path in [*internals(room.storage).glob("journal.[0-9]*"), *outbox(room).glob("*.jsonl")]:
        path.unlink()
    (internals(room.storage) / "snapshot").unlink()


def flush(room: Room) -> None:
    """Everything that has ended is on disk."""
    room.collector.settle()
    room.collector.flush()


def outbox(room: Room) -> Path:
    """Where it is."""
    return internals(room.storage) / "outbox"


def test_a_reader_misses_no_call_that_fits_into_a_batch(tmp_path: Path, runtime: Path) -> None:
    """Calls that newer ones push out of the history are in the outbox before, if somebody reads."""
    room = new_room(tmp_path, runtime)
    try:
        reader, worker = Reader(room.storage), room.worker()
        opened = worker.call("few")
        room.turn()
        room.collector.flush()
        called = [opened.hex]
        for n in range(12):
            called.append(worker.call("few", n).hex)
            room.turn()
        reader.read_all()
        assert reader.ids == called
        reader.consumer.close()
    finally:
        room.close()
