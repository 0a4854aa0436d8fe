"""The collector in one process: what it drains, keeps, writes, forgets and takes up again."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import tempfile
import threading
from collections import Counter, UserDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.analysis.totals import Totals
from shmperf.analysis.treestate import TreeState
from shmperf.collector.cycle import Collector
from shmperf.collector.drain import WorkerDrain
from shmperf.config.options import Options
from shmperf.errors import SegmentGone, SessionError
from shmperf.session.client import Client
from shmperf.session.messages import Flush, Mode, Stats, Status, Stop
from shmperf.session.presence import HERE, Identity
from shmperf.session.rendezvous import Request, join
from shmperf.session.server import Server
from shmperf.session.session import Session, attach
from shmperf.shm.inflight import CALLEE, GENERATION_STEP, PARENT, START, mark_loss
from shmperf.shm.memory import SHARED_MEMORY, remove_memory
from shmperf.shm.record import BESIDE, BLOCK, BODY_BYTES, DETAIL, PARTS, SLOT, Callee, meta_of, seal
from shmperf.shm.record import Status as Outcome
from shmperf.shm.ring import Grant, RingWriter
from shmperf.shm.segment import Fault, Loss, Segment
from shmperf.storage.history import file_name
from shmperf.storage.state import Frame, Ledger, WorkerState, load, stats_on_disk
from shmperf.storage.writer import Disk
from tests.support import DEADLINE_S, assert_books_balance, wait_until

LIMITS = "tool_limits: {all: -1, few: 3}\nstorage: {batch_size: 20}\n"
TURN_S = 0.06
FEW = 3


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Opened:
    """A call that has begun."""

    def __init__(self, tool: str, row: int, call_id: int, parent: int, start_ns: int) -> None:
        self.tool, self.row, self.id, self.parent = tool, row, call_id, parent
        self.start_ns = start_ns

    @property
    def hex(self) -> str:
        return f"{self.id:016x}"


class Lane:
    """A tool's ring and the grant in use."""

    def __init__(self, callee: int, writer: RingWriter) -> None:
        self.callee = callee
        self.writer = writer
        self.grant: Grant | None = None


class Worker:
    """The other side of the bytes: what a worker process does, one step at a time."""

    def __init__(self, room: Room, *, slots: int = 16, sealed: bool | None = None) -> None:
        self.room = room
        self.session = attach(room.directory)
        self.segment = self.session.announce(
            lambda name: Segment(name, budget_bytes=4 << 20, pid=os.getpid(), sealed=sealed)
        )
        self.presence = room.directory / f"{HERE}{self.segment.name}"
        # Of this pid, but not of this process: alive as long as the lock is held and no longer.
        ours = Identity.of_this_process()
        stranger = Identity(ours.pid, ours.start_ticks + 1, ours.namespace)
        self.presence.write_bytes(msgspec.msgpack.encode(stranger))
        self.ready = self.segment.add_rows(self.session.next_blocks(1)) or []
        self.lanes: dict[str, Lane] = {}
        self.slots = slots
        self.is_alive = True

    def begin(self, tool: str, parent: int = 0) -> Opened:
        lane = self._lane(tool)
        words, row = self.segment.words, self.ready.pop()
        call_id = words[row] + GENERATION_STEP
        start_ns = self.room.tick()
        words[row + START], words[row + PARENT], words[row + CALLEE] = start_ns, parent, lane.callee
        words[row] = call_id
        self.room.begun += 1
        return Opened(tool, row, call_id, parent, start_ns)

    def end(self, call: Opened, body: bytes = b"", kind: int = Outcome.OK) -> bool:
        """Store the call's record, or count it as lost; True when it is stored."""
        stored = self._store(call, (call.parent, call.start_ns, self.room.tick()), kind, body)
        if not stored:
            mark_loss(self.segment.words, call.row, call.id)
            self.segment.count_loss(Loss.RING_FULL)
        self.ready.append(call.row)
        return stored

    def end_in_parts(self, call: Opened, body: bytes, *, without: int = 0) -> None:
        """Store a body that is longer than a slot's; *without* leaves that part out."""
        first = BODY_BYTES - 2
        rest = [body[at : at + BODY_BYTES] for at in range(first, len(body), BODY_BYTES)]
        for number, part in enumerate(rest, 1):
            if number != without:
                assert self._store(call, (number, 0, 0), PARTS, part)
        self.end(call, len(rest).to_bytes(2, "little") + body[:first], PARTS)

    def end_in_blob(self, call: Opened, body: bytes, name: str = "") -> str:
        """Store a body in memory of its own; *name* is what the slot says instead of the truth."""
        blob = self.segment.add_blob(body)
        assert blob is not None
        self.end(call, msgspec.msgpack.encode((name or blob, len(body))), BLOCK)
        return blob

    def store_first_part(self, call: Opened) -> None:
        """What a worker that is killed in the middle of a long record leaves."""
        assert self._store(call, (1, 0, 0), PARTS, b"x" * BODY_BYTES)

    def take_position(self, tool: str) -> None:
        """What a worker that is killed between taking and storing leaves: a hole."""
        assert next(self._grant(self._lane(tool)).positions)

    def call(self, tool: str, n: int = 0, parent: int = 0) -> Opened:
        """A whole call with the parameter *n*."""
        opened = self.begin(tool, parent)
        self.end(opened, msgspec.msgpack.encode({"n": n}))
        return opened

    def call_in_detail(self, tool: str, params: Mapping[str, Any], parent: int = 0) -> Opened:
        """A whole call as optimization mode records it."""
        opened = self.begin(tool, parent)
        self.end_in_detail(opened, params)
        return opened

    def end_in_detail(self, call: Opened, params: Mapping[str, Any]) -> None:
        fields = (params, 1 << 20, 50.0, "ValueError", "all of it", {"seen": 1})
        self.end(call, msgspec.msgpack.encode(fields), DETAIL | Outcome.ERROR)

    def die(self) -> None:
        """kill -9: the lock is gone, everything else stays as it is."""
        self.is_alive = False
        self.session.after_fork()

    def close(self) -> None:
        if self.is_alive:
            self.die()
        remove_memory(self.segment.name, self.room.directory)
        self.segment.words.release()
        self.segment.buffer.release()
        self.segment._memory.close()

    def _lane(self, tool: str) -> Lane:
        lane = self.lanes.get(tool)
        if lane is None:
            callee = len(self.lanes) + 1
            assert self.segment.add_callee(callee, Callee(tool, ("n",)))
            ring = self.segment.add_ring(callee, self.slots)
            assert ring is not None
            lane = self.lanes[tool] = Lane(callee, ring)
        return lane

    def _grant(self, lane: Lane) -> Grant:
        if lane.grant is None:
            lane.grant = lane.writer.grant()
        assert lane.grant is not None
        return lane.grant

    def _store(self, call: Opened, words: tuple[int, int, int], kind: int, body: bytes) -> bool:
        lane = self._lane(call.tool)
        meta = meta_of(lane.callee, kind, len(body))
        if self.segment.sealed:
            meta = seal((call.id, *words), meta, body)
        lane.grant = lane.grant or lane.writer.grant()
        while lane.grant is not None:
            for position in lane.grant.positions:
                at = position + lane.grant.shift
                SLOT.pack_into(self.segment.buffer, at, call.id, *words, meta, body, position)
                return True
            lane.grant = lane.writer.grant()
        return False


class Killed(BaseException):
    """kill -9 of the collector, at this very point."""


class MortalDisk(Disk):
    """A disk whose user may be killed just before or just after any piece of work."""

    uses_left = 0

    def append(self, payload: bytes, snapshot: Callable[[], bytes]) -> None:
        self._mortal(lambda: Disk.append(self, payload, snapshot))

    def snapshot(self, encode: Callable[[], bytes]) -> None:
        self._mortal(lambda: Disk.snapshot(self, encode))

    def prepare(self, counts: Any, limits: Any) -> Any:
        return self._mortal(lambda: Disk.prepare(self, counts, limits))

    def append_calls(self, calls: Any, limits: Any) -> Any:
        return self._mortal(lambda: Disk.append_calls(self, calls, limits))

    def compact(self, limits: Any) -> Any:
        return self._mortal(lambda: Disk.compact(self, limits))

    def erase(self, files: Any) -> bool:
        return bool(self._mortal(lambda: Disk.erase(self, files)))

    def _mortal(self, work: Callable[[], Any]) -> Any:
        self._count()
        found = work()
        self._count()
        return found

    def _count(self) -> None:
        self.uses_left -= 1
        if self.uses_left == 0:
            raise Killed


class Room:
    """A session, its workers and its collector, in one process and with a clock of its own."""

    def __init__(self, cwd: Path, runtime: Path, config: str = LIMITS) -> None:
        self.clock = Clock()
        self.config = cwd / "config/tool_perf_limits.yaml"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(config)
        self.storage = cwd / "perf_data"
        self.session = join(Request(str(cwd), {"XDG_RUNTIME_DIR": str(runtime)}))
        self.directory = self.session.directory
        self.workers: list[Worker] = []
        self.begun = 0
        self._now_ns = 10**12
        self.collector = self._collector()

    def tick(self) -> int:
        """A microsecond passes for the workers."""
        self._now_ns += 1000
        return self._now_ns

    def worker(self, *, slots: int = 16, sealed: bool | None = None) -> Worker:
        self.workers.append(Worker(self, slots=slots, sealed=sealed))
        return self.workers[-1]

    def turn(self, count: int = 1) -> int:
        """Rounds of the cycle, in each of which everything journals; the records drained."""
        handled = 0
        for _ in range(count):
            self.clock.now_s += TURN_S
            handled += self.collector.step()
        return handled

    def kill(self, *, torn: bool = False) -> None:
        """kill -9 of the collector, and another one; *torn* leaves half-written bytes behind."""
        # Bytes are only ever appended to a file that the journal lists.
        listed = {file.inode for file in self.collector.ledger.state.files.values()}
        self._drop()
        if torn:
            for path in (self.storage / ".shmperf").glob("journal.*"):
                with path.open("ab") as file:
                    file.write(b"\x40\0\0\0\1\2\3\4half a frame")
            for path in self.storage.glob("*.jsonl"):
                if path.stat().st_ino not in listed:
                    continue
                with path.open("ab") as file:
                    file.write(b'{"tool":"all","timestamp":"2026-01-01","data":{"id":"0"}}\n{"to')
        self.collector = self._collector()

    def finish(self) -> None:
        """The end of a session: the workers die, everything is drained and written."""
        for worker in self.workers:
            if worker.is_alive:
                worker.die()
        self.collector.finish()

    def stats(self, tool: str | None = None) -> dict[str, Any]:
        """What the running collector answers, its books balanced."""
        self.collector.settle()
        found = self.collector.ledger.stats(tool, len(self.collector.workers), complete=True)
        if tool is None:
            assert_books_balance(found)
        return found

    def stats_on_disk(self) -> dict[str, Any]:
        found = stats_on_disk(self.storage, None, self.collector.options)
        assert_books_balance(found)
        return found

    def lines(self, tool: str) -> list[dict[str, Any]]:
        path = self.storage / file_name(tool)
        if not path.exists():
            return []
        return [json.loads(text)["data"] for text in path.read_text().splitlines()]

    def ids(self, tool: str) -> Counter[str]:
        return Counter(line["id"] for line in self.lines(tool))

    def close(self) -> None:
        self._drop()
        for worker in self.workers:
            worker.close()
        assert not [w for w in self.workers if (SHARED_MEMORY / w.segment.name).exists()]

    def _collector(self) -> Collector:
        session: Session = attach(self.directory)
        disk = MortalDisk(self.storage, clock=self.clock)
        collector = Collector(session, Server(self.directory), disk, clock=self.clock)
        collector.open()
        return collector

    def _drop(self) -> None:
        # What the kernel does at a kill: descriptors and mappings go, nothing is written.
        self.collector.server.close()
        for worker in self.collector.workers.values():
            worker.close()
        self.collector.workers.clear()
        self.collector.disk.close()


@pytest.fixture
def room(tmp_path: Path, runtime: Path) -> Iterator[Room]:
    found = Room(tmp_path, runtime)
    yield found
    found.close()


@contextmanager
def a_room(config: str = LIMITS) -> Iterator[Room]:
    """A room for each of many examples."""
    path = Path(tempfile.mkdtemp(prefix="sp-", dir="/tmp"))
    found = Room(path, path, config)
    try:
        yield found
    finally:
        found.close()
        shutil.rmtree(path)


# --- exactly once --------------------------------------------------------------------------------


class Story:
    """What a sequence of happenings must have led to in the end."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.team = [room.worker(), room.worker()]
        self.finished: dict[str, list[str]] = defaultdict(list)
        self.aborted: dict[str, list[str]] = defaultdict(list)
        self.lost = 0
        self.open: list[tuple[Worker, Opened]] = []

    def happen(self, what: tuple[str, int, int]) -> None:
        name, who, count = what
        try:
            getattr(self, name)(self.team[who % len(self.team)], count)
        except Killed:
            self.room.kill()
            if name == "cleanup":
                # It came to pass or it did not; a second one leaves no doubt.
                getattr(self, name)(self.team[0], count)

    def few(self, worker: Worker, count: int) -> None:
        self._calls(worker, "few", count)

    def all(self, worker: Worker, count: int) -> None:
        self._calls(worker, "all", count)

    def nested(self, worker: Worker, count: int) -> None:
        parent = worker.begin("all")
        for _ in range(count % 3):
            self._end(worker, worker.begin("all", parent.id))
        self._end(worker, parent, in_detail=True)

    def opens(self, worker: Worker, count: int) -> None:
        self.open.append((worker, worker.begin("all")))

    def closes(self, worker: Worker, count: int) -> None:
        if self.open:
            self._end(*self.open.pop(0))

    def dies(self, worker: Worker, count: int) -> None:
        worker.die()
        for owner, call in self.open:
            if owner is worker:
                self.aborted["all"].append(call.hex)
        self.open = [(owner, call) for owner, call in self.open if owner is not worker]
        self.team[self.team.index(worker)] = self.room.worker()

    def turns(self, worker: Worker, count: int) -> None:
        self.room.turn(count % 5)

    def flushes(self, worker: Worker, count: int) -> None:
        self.room.collector.flush(force=True)

    def cleanup(self, worker: Worker, count: int) -> None:
        self.room.collector.cleanup()
        self.finished.clear()
        self.aborted.clear()
        self.lost = 0
        self.room.begun = len(self.open)

    def killed(self, worker: Worker, count: int) -> None:
        self.room.kill(torn=bool(count % 2))

    def doomed(self, worker: Worker, count: int) -> None:
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
        assert stats["begun"] == room.begun
        assert sum(stats["lost"].values()) == self.lost
        assert stats["in_flight"] == 0
        assert stats["faults"].keys() <= {"journal_damaged"}
        counts = {name: row["count"] for name, row in stats["tool_stats"].items() if row["count"]}
        assert counts == {name: len(ids) for name, ids in self.finished.items() if ids}
        assert stats["aborted"] == len(self.aborted["all"])
        assert [
            line["status"] for line in room.lines("all") if line["id"] in self.aborted["all"]
        ] == ["aborted"] * len(self.aborted["all"])

    def _calls(self, worker: Worker, tool: str, count: int) -> None:
        for _ in range(count):
            self._end(worker, worker.begin(tool))

    def _end(self, worker: Worker, call: Opened, *, in_detail: bool = False) -> None:
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
            story.happen(("turns", 0, 3))
            story.happen(("flushes", 0, 1))
            story.happen(("dies", turn, 1))
            story.happen(("turns", 0, 4))
        story.check()


@pytest.mark.parametrize("last", range(1, 13))
def test_cleanup_killed_anywhere_comes_to_pass_or_does_not(last: int) -> None:
    """After a kill in a cleanup history and statistics are both there or both gone."""
    with a_room() as room:
        worker = room.worker()
        for n in range(10):
            worker.call("all", n)
        room.collector.flush(force=True)
        room.turn(4)
        room.collector.flush(force=True)
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
    plain = msgspec.to_builtins(msgspec.structs.replace(ledger.state, tree=TreeState(), let_go=0))
    return {**plain, "buried": sorted(plain["buried"]), "graph": graph}


@pytest.mark.parametrize("keep", ["nothing", "header", "half"])
def test_torn_journal_keeps_what_stands_before_the_damage(room: Room, keep: str) -> None:
    """A log cut anywhere leaves the state of its whole frames, and workers are drained on."""
    worker = room.worker()
    for n in range(10):
        worker.call("all", n)
        room.turn()
    (log,) = (room.storage / ".shmperf").glob("journal.*")
    size = {"nothing": 0, "header": 16, "half": log.stat().st_size // 2}[keep]
    room.collector.server.close()
    os.truncate(log, size)
    room.kill()
    assert room.stats()["tool_stats"].get("all", {"count": 0})["count"] <= 10
    worker.call("all")
    assert room.turn(2) >= 1
    assert_books_balance(room.collector.ledger.stats(None, 1, complete=True))


# --- limits --------------------------------------------------------------------------------------


def test_taking_up_an_empty_past_forgets_what_was_counted_in_memory(room: Room) -> None:
    """Frames that waited for a storage that turns out empty are applied once, not once more."""
    ledger = Ledger(room.collector.options)
    totals = Totals()
    totals.add([5], 0, 0)
    frame = Frame(workers={"w": WorkerState(begun=1, finished=1)}, totals={"all": totals})
    ledger.apply(frame, live=True)
    assert ledger.restore(None, []) is None
    assert ledger.stats(None, 0, complete=True)["begun"] == 0
    ledger.apply(frame)
    stats = ledger.stats(None, 0, complete=True)
    assert (stats["begun"], stats["total_calls"]) == (1, 1)


def test_last_write_waits_for_a_stuck_one(tmp_path: Path, runtime: Path) -> None:
    """A collector that ends while a write is stuck waits for it, and writes everything."""
    room = Room(tmp_path / "cwd", runtime)
    worker = room.worker()
    try:
        worker.call("all", 1)
        room.turn(2)
        disk = room.collector.disk
        disk._longest_wait_s = 0.01
        may_go_on = threading.Event()
        assert disk._do(may_go_on.wait) is None
        worker.call("all", 2)
        room.turn()
        assert disk.is_unavailable()
        threading.Timer(0.3, may_go_on.set).start()
        disk._longest_wait_s = 10.0
        room.finish()
        assert len(room.lines("all")) == 2
        assert room.stats_on_disk()["begun"] == 2
    finally:
        worker.close()
        room.close()


def test_limit_is_applied_before_the_disk(room: Room) -> None:
    """However many calls there are, no more than the limit are journalled or written."""
    worker = room.worker(slots=4096)
    room.turn(2)
    for n in range(4000):
        worker.end(worker.begin("few"), msgspec.msgpack.encode({"n": f"marked {n}"}))
    room.turn()
    logs = (room.storage / ".shmperf").glob("journal.*")
    assert sum(path.read_bytes().count(b"marked") for path in logs) == FEW
    assert room.collector.ledger.current_size("few") == FEW
    room.collector.flush(force=True)
    shown = [line["p"] for line in room.lines("few")]
    assert shown == [f'{{"n":"marked {n}"}}' for n in (3997, 3998, 3999)]
    assert room.stats("few")["count"] == 4000


def test_file_has_never_more_than_twice_its_limit_of_lines(room: Room) -> None:
    """A file stays within twice the limit, flush by flush; in the end it holds the newest."""
    worker = room.worker()
    expected = []
    for n in range(40):
        expected.append(worker.call("few", n).hex)
        room.turn()
        room.collector.flush(force=True)
        ids = [line["id"] for line in room.lines("few")]
        assert len(ids) <= 2 * FEW
        assert ids == expected[-len(ids) :]
    room.finish()
    assert [line["id"] for line in room.lines("few")] == expected[-FEW:]


def test_newest_are_newest_across_workers(room: Room) -> None:
    """The limit keeps the last to end, whichever worker they come from."""
    first, second = room.worker(), room.worker()
    opened = first.begin("few")
    for n in range(5):
        second.call("few", n)
    first.end(opened)
    last = second.call("few", 9)
    room.finish()
    ids = [line["id"] for line in room.lines("few")]
    assert ids[-2:] == [opened.hex, last.hex]
    assert len(ids) == FEW


def test_history_that_fills_its_room_is_told_and_counted(tmp_path: Path, runtime: Path) -> None:
    """Tools that keep all stop at ``storage.max_bytes``; counting and others go on."""
    room = Room(tmp_path, runtime, "tool_limits: {all: -1}\nstorage: {max_bytes: 1048576}\n")
    try:
        worker = room.worker(slots=4096)
        written = 0
        for _ in range(5):
            for _ in range(3000):
                call = worker.begin("all")
                worker.end(call, msgspec.msgpack.encode({"n": "x" * 150}))
            worker.call("other")
            room.turn(3)
            room.collector.flush(force=True)
            now = (room.storage / "all_perf.jsonl").stat().st_size
            grew, written = now > written, now
        assert not grew
        stats = room.stats()
        assert stats["tool_stats"]["all"]["count"] == 15_000
        assert stats["faults"]["max_bytes_reached"] > 0
        assert len(room.lines("other")) == 5
    finally:
        room.close()


# --- records of every kind -----------------------------------------------------------------------


@pytest.mark.parametrize("sealed", [False, True])
def test_long_records_are_put_together(room: Room, sealed: bool) -> None:
    """Parameters in several slots, in both store disciplines, come out as one record each."""
    worker = room.worker(slots=64, sealed=sealed)
    bodies = [{"n": "abc" * size} for size in (1, 60, 100, 500, 1200)]
    for params in bodies:
        worker.end_in_parts(worker.begin("all"), msgspec.msgpack.encode(params))
        room.turn()
    room.finish()
    shown = [line["p"] for line in room.lines("all")]
    assert shown == [json.dumps(params, separators=(",", ":"))[:200] for params in bodies]
    assert room.stats_on_disk()["faults"] == {}


def test_unfinished_long_record_waits_for_its_worker(room: Room) -> None:
    """Parts without their head are left in the ring; complete, they are one call."""
    worker = room.worker()
    call = worker.begin("all")
    worker.store_first_part(call)
    room.turn(3)
    assert room.stats()["in_flight"] == 1
    body = msgspec.msgpack.encode({"n": "y" * 300})
    first = BODY_BYTES - 2
    worker._store(call, (1, 0, 0), PARTS, body[first:])
    worker.end(call, b"\1\0" + body[:first], PARTS)
    room.finish()
    (line,) = room.lines("all")
    assert line["p"].startswith('{"n":"yyy')
    assert room.stats_on_disk()["total_calls"] == 1


def test_unfinished_long_record_of_a_dead_worker_is_aborted(room: Room) -> None:
    """Parts whose head never came leave an aborted call and nothing else."""
    worker = room.worker()
    before = worker.call("all")
    call = worker.begin("all")
    worker.store_first_part(call)
    room.turn(2)
    room.finish()
    assert {line["id"]: line.get("status") for line in room.lines("all")} == {
        before.hex: None,
        call.hex: "aborted",
    }


def test_record_with_a_missing_part_counts_without_parameters(room: Room) -> None:
    """A call whose parameters are incomplete is finished, kept without them, and told."""
    worker = room.worker(slots=64)
    body = msgspec.msgpack.encode({"n": "z" * 1000})
    worker.end_in_parts(worker.begin("all"), body, without=2)
    worker.call("all", 7)
    room.finish()
    assert sorted(line["p"] for line in room.lines("all")) == ['{"n":7}', "{}"]
    assert room.stats_on_disk()["faults"] == {"incomplete_records": 1}


def test_blobs_are_read_and_removed(room: Room) -> None:
    """Parameters in memory of their own are kept whole, and the memory goes once journalled."""
    worker = room.worker()
    text = "long " * 100_000
    fields = ({"n": text}, None, None, None, None, None)
    call = worker.begin("all")
    blob = worker.segment.add_blob(msgspec.msgpack.encode(fields))
    assert blob is not None
    named = msgspec.msgpack.encode((blob, len(msgspec.msgpack.encode(fields))))
    worker.end(call, named, BLOCK | DETAIL)
    dropped = worker.end_in_blob(worker.begin("few"), msgspec.msgpack.encode({"n": 1}))
    assert (SHARED_MEMORY / blob).exists()
    room.turn(2)
    assert not (SHARED_MEMORY / blob).exists()
    assert not (SHARED_MEMORY / dropped).exists()
    room.finish()
    (line,) = room.lines("all")
    assert line["params"] == {"n": text}


@pytest.mark.parametrize("name", ["shmperf-000000000000.1", "../../etc/passwd", "", "x"])
def test_blob_of_a_strange_name_is_refused(room: Room, name: str) -> None:
    """A slot that names memory of somebody else costs its parameters, and removes nothing."""
    other = room.worker()
    victim = other.segment.add_blob(b"of somebody else")
    assert victim is not None
    worker = room.worker()
    blob = worker.end_in_blob(worker.begin("all"), b"x", name or victim)
    room.finish()
    (line,) = room.lines("all")
    assert line["p"] == "{}"
    assert room.stats_on_disk()["faults"] == {"body_damaged": 1}
    assert not (SHARED_MEMORY / blob).exists()


@pytest.mark.parametrize(
    "body", [b"\xc1", b"\xff" * 200, b"\x93\1\2\3", b"\x91" * 208, b"\xa5abc", b"\x80"]
)
@pytest.mark.parametrize("kind", [0, Outcome.ERROR, DETAIL, BLOCK, 0xFF, PARTS | BLOCK])
def test_damaged_body_costs_its_parameters_only(room: Room, body: bytes, kind: int) -> None:
    """A record whose body nobody can read is counted, keeps its times, and disturbs no other."""
    worker = room.worker()
    worker.call("all", 1)
    worker.end(worker.begin("all"), body, kind)
    worker.call("all", 2)
    stats = room.stats()
    assert stats["total_calls"] == 3
    assert "drain" not in stats["faults"]
    room.finish()
    assert len(room.lines("all")) == 3


def test_details_settle_before_they_are_written(room: Room) -> None:
    """In optimization mode a line names its children, their totals and its own time."""
    worker = room.worker()
    parent = worker.begin("all")
    children = [worker.call("few", n, parent.id) for n in range(2)]
    worker.end_in_detail(parent, {"password": "hidden", "x": [1, {"token": "t"}]})
    room.finish()
    (line,) = room.lines("all")
    assert line["child_tools"] == [child.hex for child in children]
    assert line["children"]["few"]["count"] == 2
    assert line["self_ms"] == pytest.approx(line["duration_ms"] - 0.002)
    assert line["params"] == {"password": "***", "x": [1, {"token": "***"}]}
    assert (line["error"], line["err"], line["status"]) == ("all of it", "ValueError", "error")
    assert line["metadata"] == {"seen": 1}


# --- the dead ------------------------------------------------------------------------------------


def test_open_calls_of_the_dead_are_aborted_with_their_parents(room: Room) -> None:
    """Every call that was open, nested ones too, becomes one aborted line; the memory goes."""
    worker = room.worker()
    outer = worker.begin("all")
    inner = worker.begin("all", outer.id)
    done = worker.call("all", 1, inner.id)
    worker.die()
    room.clock.now_s += 1
    room.turn(3)
    assert not (SHARED_MEMORY / worker.segment.name).exists()
    assert not worker.presence.exists()
    stats = room.stats()
    assert (stats["begun"], stats["total_calls"], stats["aborted"]) == (3, 1, 2)
    assert stats["tool_stats"]["all"]["avg_duration_s"] == pytest.approx(1e-6)
    room.finish()
    lines = {line["id"]: line for line in room.lines("all")}
    assert lines[done.hex].get("status") is None
    assert lines[done.hex]["parent"] == inner.hex
    assert lines[inner.hex]["parent"] == outer.hex
    for call in (outer, inner):
        assert lines[call.hex]["status"] == "aborted"
        assert lines[call.hex]["e"] is lines[call.hex]["d"] is None


def test_hole_is_kept_while_its_worker_lives_and_passed_when_it_is_dead(room: Room) -> None:
    """A slot taken and never stored stops the ring, not the collector; it is counted at burial."""
    worker = room.worker()
    worker.call("all", 0)
    hole = worker.begin("all")
    worker.take_position("all")
    for n in (1, 2, 3):
        worker.call("all", n)
    other = room.worker()
    other.call("all", 4)
    room.turn(3)
    assert room.stats()["tool_stats"]["all"]["count"] == 2
    assert room.stats()["in_flight"] == 4
    worker.die()
    room.clock.now_s += 1
    room.turn(2)
    stats = room.stats()
    assert stats["tool_stats"]["all"]["count"] == 5
    assert stats["aborted"] == 1
    assert stats["faults"] == {"holes": 1}
    room.finish()
    assert room.ids("all")[hole.hex] == 1


def test_lost_calls_are_counted_by_cause_and_never_aborted_too(room: Room) -> None:
    """A full ring loses the newest calls; the books balance before and after the worker's death."""
    worker = room.worker(slots=4)
    for n in range(10):
        worker.call("all", n)
    stats = room.stats()
    assert (stats["total_calls"], stats["lost"]) == (4, {"ring_full": 6})
    worker.call("all", 11)
    worker.die()
    room.finish()
    stats = room.stats_on_disk()
    assert (stats["total_calls"], stats["lost"], stats["aborted"]) == (5, {"ring_full": 6}, 0)


def test_overwritten_records_of_a_dead_worker_are_lost_and_not_in_flight(room: Room) -> None:
    """A call that began, ended and left no record is lost by count once its worker is dead."""
    worker = room.worker()
    for n in range(3):
        worker.call("all", n)
        # As when a fork without a hook stored its own record over this one.
        worker.ready.append(worker.begin("all").row)
    room.turn(2)
    worker.call("all", 3)
    worker.die()
    room.finish()
    stats = room.stats_on_disk()
    assert_books_balance(stats)
    assert (stats["begun"], stats["total_calls"], stats["in_flight"]) == (7, 4, 0)
    assert stats["lost"] == stats["faults"] == {"spoilt_records": 3}


def test_copied_records_of_a_dead_worker_balance(room: Room) -> None:
    """Calls that two processes stored under one row count as begun as often as they are there."""
    worker = room.worker()
    opened = worker.begin("all")
    for _ in range(3):
        worker._store(opened, (0, opened.start_ns, room.tick()), Outcome.OK, b"")
    worker.die()
    room.finish()
    stats = room.stats_on_disk()
    assert_books_balance(stats)
    assert (stats["begun"], stats["total_calls"]) == (3, 3)
    assert stats["faults"] == {"spoilt_records": 2}


def test_worker_whose_memory_has_gone_loses_what_was_unread(room: Room) -> None:
    """Memory that somebody removed is told once; what had begun there is counted as lost."""
    worker = room.worker()
    worker.call("all", 1)
    opened = worker.begin("all")
    room.turn(2)
    room.stats()
    remove_memory(worker.segment.name, None)
    room.kill()
    worker.die()
    room.clock.now_s += 1
    room.turn(3)
    stats = room.stats()
    assert stats["total_calls"] == 1
    assert stats["lost"] == {"segment_gone": 1}
    assert stats["faults"] == {"segment_gone": 1}
    assert opened.id
    assert not worker.presence.exists()


def test_memory_that_can_not_be_mapped_now_waits(room: Room) -> None:
    """A collector short of descriptors buries no dead worker unread: it reads it later."""
    worker = room.worker()
    for n in range(3):
        worker.call("all", n)
    worker.die()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208
    fillers = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while fillers[-1] < taken:
            fillers.append(os.open(os.devnull, os.O_RDONLY))
        # One is left: enough for the directory and the presence in turn; mapping takes two.
        resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 2, hard))
        room.turn(3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)
    assert worker.presence.exists()
    room.finish()
    stats = room.stats_on_disk()
    assert (stats["begun"], stats["total_calls"]) == (3, 3)
    assert "segment_waits" in stats["faults"]
    assert not {"segment_gone", "segment_refused"} & stats["faults"].keys()
    assert not worker.presence.exists()


def test_drain_of_missing_memory_says_so(room: Room) -> None:
    """Nothing to attach to is SegmentGone, not an empty worker."""
    with pytest.raises(SegmentGone):
        WorkerDrain("shmperf-000000000000", None)


def test_worker_with_strange_numbers_disturbs_no_other(room: Room) -> None:
    """Records with ids, tools and times that can't be are refused or bounded, and counted."""
    worker, other = room.worker(), room.worker()
    good = worker.begin("all")
    foreign = Opened("all", good.row, 99 << 32 | 64, 0, 5)
    assert worker._store(foreign, (0, 5, 6), 0, b"")
    backwards = worker.begin("all")
    worker._store(backwards, (backwards.id, 1 << 63, 3), 0, b"")
    endless = worker.begin("all")
    worker._store(endless, ((1 << 64) - 1, 0, (1 << 64) - 1), 0, b"")
    worker.end(good)
    other.call("all")
    stats = room.stats()
    assert stats["total_calls"] == 4
    assert stats["faults"] == {"record_refused": 1}
    assert stats["tool_stats"]["all"]["min_duration_s"] == 0
    room.finish()
    assert len(room.lines("all")) == 4


@pytest.mark.parametrize("seed", range(20))
def test_memory_full_of_noise_stops_nothing(room: Room, seed: int) -> None:
    """Random bytes over a living worker's memory: the others are drained, and it can be buried."""
    import random

    noise = random.Random(seed)  # noqa: S311
    worker, other = room.worker(), room.worker()
    for n in range(5):
        worker.call("all", n)
    room.turn()
    size = 1 << 14
    for _ in range(20):
        at = noise.randrange(48, (2 << 20) + (8 << 10) + size)
        at = noise.choice((at, noise.randrange(48, 4096 + 512), (2 << 20) + 4096 + at % size))
        worker.segment.buffer[at : at + 8] = noise.randbytes(8)
    other.call("few", 1)
    room.turn(3)
    worker.die()
    room.clock.now_s += 1
    room.turn(3)
    room.collector.settle()
    stats = room.collector.ledger.stats(None, 1, complete=True)
    assert stats["tool_stats"]["few"]["count"] >= 1
    assert not (SHARED_MEMORY / worker.segment.name).exists()
    assert not room.collector.stopping


def test_figures_beyond_all_bounds_can_be_journalled(room: Room) -> None:
    """Counters and times that no clock or count can reach are bounded before they are summed."""
    worker = room.worker()
    for _ in range(8):
        opened = worker.begin("all")
        worker._store(opened, (0, (1 << 64) - 1, 0), Outcome.OK, b"")
        room.turn()
        opened = worker.begin("all")
        worker._store(opened, (0, 0, (1 << 64) - 1), Outcome.OK, b"")
    for at in [*range(32, 32 + len(Loss)), *range(64, 64 + len(Fault))]:
        worker.segment.words[at] = (1 << 64) - 1
    room.turn(3)
    worker.die()
    room.finish()
    stats = room.stats_on_disk()
    assert stats["total_calls"] == 16
    assert sum(stats["lost"].values()) == 1 << 41


def test_faults_of_workers_are_summed(room: Room) -> None:
    """What workers count stays counted after they are gone and after a restart."""
    for _ in range(2):
        worker = room.worker()
        worker.call("all")
        worker.segment.count_fault(Fault.REPR_FAILED)
    room.turn(2)
    room.kill()
    room.finish()
    assert room.stats_on_disk()["faults"] == {"repr_failed": 2}


# --- cleanup -------------------------------------------------------------------------------------


def test_cleanup_cuts_between_what_had_ended_and_what_is_open(room: Room) -> None:
    """After it the books are those of calls that end later, also for the next collector."""
    worker = room.worker(slots=4)
    opened = worker.begin("all")
    for n in range(10):
        worker.call("all", n)
    room.turn(2)
    room.collector.flush(force=True)
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
    room.collector.flush(force=True)
    room.collector.cleanup()
    assert room.stats("few")["current_size"] == 0
    assert room.stats("few")["count"] == 0
    worker.call("few")
    assert room.stats("few")["current_size"] == 1
    room.collector.flush(force=True)
    assert room.stats("few")["current_size"] == 1
    assert len(room.lines("few")) == 1


def test_cleanup_deletes_only_files_that_are_listed(room: Room) -> None:
    """What somebody else put into the directory, or in the place of a file, stays."""
    worker = room.worker()
    worker.call("all")
    worker.call("few")
    room.turn()
    room.collector.flush(force=True)
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


# --- storage -------------------------------------------------------------------------------------


@contextmanager
def storage_gone(room: Room) -> Iterator[None]:
    """In the place of the storage directory stands a file, which root can't write into either."""
    aside = room.storage.with_name("aside")
    room.storage.rename(aside)
    room.storage.write_text("not a directory")
    yield
    room.storage.unlink()
    aside.rename(room.storage)


def test_storage_failure_stops_no_drain_and_recovers(room: Room) -> None:
    """While nothing can be written everything is counted and released; afterwards it is on disk."""
    worker = room.worker(slots=8)
    expected = [worker.call("all").hex for _ in range(4)]
    room.turn(2)
    room.collector.flush(force=True)
    with storage_gone(room):
        for _ in range(20):
            expected += [worker.call("all").hex for _ in range(4)]
            room.turn()
        room.collector.flush(force=True)
        assert room.collector.disk.is_unavailable()
        assert room.collector.disk.reason
        stats = room.stats()
        assert (stats["total_calls"], stats["lost"]) == (84, {})
        assert room.collector.disk.failures < 10
    room.clock.now_s += 120
    room.turn(5)
    assert not room.collector.disk.reason
    room.collector.flush(force=True)
    assert room.ids("all") == Counter(expected)
    room.kill()
    assert room.stats()["total_calls"] == 84
    room.finish()
    assert room.ids("all") == Counter(expected)


def test_deleted_storage_is_made_anew_with_a_whole_snapshot(room: Room) -> None:
    """Files deleted under a running collector: statistics go on, the next restart knows them."""
    worker = room.worker()
    for _ in range(5):
        worker.call("all")
    room.turn(3)
    room.collector.flush(force=True)
    shutil.rmtree(room.storage)
    later = [worker.call("all").hex for _ in range(5)]
    room.turn()
    room.clock.now_s += 120
    room.turn(3)
    room.collector.flush(force=True)
    assert room.ids("all") == Counter(later)
    room.kill()
    assert room.stats()["total_calls"] == 10


@pytest.mark.parametrize("change", ["exchanged", "shortened", "deleted", "longer"])
def test_history_file_that_somebody_changed_is_adopted(room: Room, change: str) -> None:
    """A file that isn't the one listed any more costs no later line, and no limit is broken."""
    worker = room.worker()
    for n in range(5):
        worker.call("few", n)
        worker.call("all", n)
    room.turn()
    room.collector.flush(force=True)
    for name in ("few_perf.jsonl", "all_perf.jsonl"):
        path = room.storage / name
        text = path.read_bytes()
        if change == "exchanged":
            path.unlink()
            path.write_bytes(text * 5 + b'{"half')
        elif change == "shortened":
            os.truncate(path, len(text) // 2)
        elif change == "longer":
            path.write_bytes(text + b"garbage\n")
        else:
            path.unlink()
    later = [worker.call("all", n).hex for n in range(9)]
    few = [worker.call("few", n).hex for n in range(9)]
    room.turn()
    room.collector.flush(force=True)
    room.clock.now_s += 2
    room.turn(2)
    room.collector.flush(force=True)
    texts = (room.storage / "all_perf.jsonl").read_bytes().splitlines()
    ids = [found["data"]["id"] for text in texts if (found := parsed(text))]
    assert [i for i in ids if i in later] == later
    room.finish()
    assert [line["id"] for line in room.lines("few")] == few[-FEW:]


def parsed(text: bytes) -> dict[str, Any] | None:
    try:
        return json.loads(text)
    except ValueError:
        return None


@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo", "foreign link"])
def test_history_file_that_is_none_of_ours_is_not_followed(room: Room, kind: str) -> None:
    """Something else in a file's place is told, and nothing is written through it."""
    victim = room.storage.with_name("victim")
    victim.write_text("precious\n")
    path = room.storage / "all_perf.jsonl"
    if kind == "symlink":
        path.symlink_to(victim)
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/nonexistent/place")
    worker = room.worker()
    worker.call("all")
    worker.call("few")
    room.turn(2)
    room.collector.flush(force=True)
    assert victim.read_text() == "precious\n"
    assert room.collector.disk.reason
    assert room.stats()["total_calls"] == 2
    path.rmdir() if kind == "directory" else path.unlink()
    room.clock.now_s += 120
    room.turn(2)
    room.collector.flush(force=True)
    assert len(room.lines("all")) == len(room.lines("few")) == 1


def test_one_bad_history_file_does_not_keep_the_others_from_the_disk(room: Room) -> None:
    """A tool whose file can't be written costs no other tool its lines."""
    (room.storage / "all_perf.jsonl").mkdir()
    worker = room.worker()
    worker.call("all")
    worker.call("few")
    room.turn(2)
    room.collector.flush(force=True)
    room.clock.now_s += 120
    room.turn(2)
    room.collector.flush(force=True)
    assert len(room.lines("few")) == 1


def test_past_is_not_overwritten_when_it_could_not_be_read(room: Room) -> None:
    """A collector that finds its storage unavailable takes up the past once it is back."""
    worker = room.worker()
    first = [worker.call("all").hex for _ in range(5)]
    room.turn(3)
    room.collector.flush(force=True)
    with storage_gone(room):
        room.kill()
        second = [worker.call("all").hex for _ in range(5)]
        room.turn(2)
    room.clock.now_s += 120
    room.turn(3)
    assert room.stats()["tool_stats"]["all"]["count"] == 10
    room.finish()
    assert room.ids("all") == Counter(first + second)


def test_journal_of_another_version_is_not_destroyed(room: Room) -> None:
    """What a later version of the program wrote is still there after an earlier one has run."""
    worker = room.worker()
    worker.call("all")
    room.turn(2)
    room.collector.disk.snapshot(room.collector.ledger.encode)
    snapshot = room.storage / ".shmperf/snapshot"
    content = bytearray(snapshot.read_bytes())
    content[8] += 1
    snapshot.write_bytes(content)
    room.kill()
    room.clock.now_s += 120
    worker.call("all")
    room.turn(3)
    assert "version" in " ".join([*room.collector.requests.value_for(Status())["told"].values()])
    room.finish()
    there = [path.read_bytes() for path in snapshot.parent.iterdir() if path.is_file()]
    assert bytes(content) in there


def test_damaged_snapshot_is_set_aside_and_told_once(room: Room) -> None:
    """A snapshot that can't be read costs the past, not the session: the fault is counted once."""
    worker = room.worker()
    worker.call("all")
    room.turn(2)
    room.collector.disk.snapshot(room.collector.ledger.encode)
    snapshot = room.storage / ".shmperf/snapshot"
    snapshot.write_bytes(snapshot.read_bytes()[:-3])
    room.kill()
    worker.call("all")
    room.turn(2)
    assert room.collector.ledger.stats(None, 1, complete=True)["faults"] == {"journal_damaged": 1}
    room.kill()
    assert room.collector.ledger.stats(None, 1, complete=True)["faults"] == {"journal_damaged": 1}
    assert list(snapshot.parent.glob("snapshot.damaged-*"))


@contextmanager
def blocked(path: Path) -> Iterator[None]:
    """Whoever opens *path* for writing waits in the kernel until this is over."""
    with path.open("rb") as file:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        try:
            yield
        finally:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def test_stuck_write_stops_no_drain_and_doubles_no_line(tmp_path: Path, runtime: Path) -> None:
    """A write that does not come back stops nobody; what it did in the end is not done again."""
    room = Room(tmp_path, runtime)
    disk = room.collector.disk
    disk._longest_wait_s = 0.2
    try:
        worker = room.worker()
        expected = [worker.call("all").hex for _ in range(5)]
        room.turn(2)
        room.collector.flush(force=True)
        path = room.storage / "all_perf.jsonl"
        try:
            with blocked(path):
                expected += [worker.call("all").hex for _ in range(5)]
                room.turn()
                room.collector.flush(force=True)
                assert disk.is_unavailable()
                assert "did not come back" in disk.reason
                expected += [worker.call("all").hex for _ in range(5)]
                assert room.turn(3) == 5
                assert room.stats()["total_calls"] == 15
        except OSError as error:
            pytest.skip(f"no leases on this file system: {error}")
        wait_until(lambda: not disk.is_unavailable(), "the stuck write to end")
        room.clock.now_s += 120
        room.turn(3)
        room.collector.flush(force=True)
        assert room.ids("all") == Counter(expected)
        room.finish()
        assert room.ids("all") == Counter(expected)
    finally:
        room.close()


def test_stuck_disk_refuses_work_at_once(tmp_path: Path) -> None:
    """While one piece of work is stuck nobody waits for another, and closing leaves it behind."""
    clock, gate = Clock(), threading.Event()
    disk = Disk(tmp_path, longest_wait_s=0.05, clock=clock)
    assert disk.recover() is not None

    class Slow(UserDict[str, int]):
        def __iter__(self) -> Iterator[str]:
            gate.wait(DEADLINE_S)
            return super().__iter__()

    assert disk.prepare(Slow(tool=1), {"tool": -1}) is None
    assert disk.is_unavailable()
    assert disk.prepare({"tool": 1}, {"tool": -1}) is None
    assert disk.failures == 1
    gate.set()
    wait_until(lambda: not disk.is_unavailable(), "the stuck work to end")
    assert disk.prepare({"tool": 1}, {"tool": -1}) is not None
    assert disk.reason == ""
    disk.close()


def test_failing_disk_is_tried_again_with_longer_pauses(tmp_path: Path) -> None:
    """Retries come after pauses that double up to a minute, and the first success ends them."""
    clock = Clock()
    place = tmp_path / "file"
    place.write_text("in the way")
    disk = Disk(place, clock=clock)
    assert disk.recover() is None
    tried = []
    for _ in range(3000):
        before = disk.failures
        disk.snapshot(lambda: b"state")
        if disk.failures > before:
            tried.append(clock.now_s)
        clock.now_s += 0.1
    pauses = [round(b - a, 1) for a, b in pairwise(tried)]
    assert pauses[:4] == pytest.approx([1, 2, 4, 8], abs=0.21)
    assert max(pauses) <= 60.2
    place.unlink()
    clock.now_s += 61
    disk.snapshot(lambda: b"state")
    assert disk.reason == ""
    disk.close()


# --- configuration -------------------------------------------------------------------------------


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
    assert room.session.reload().limit_of("few") == 1
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
    assert status["faults"]["config"] == 1
    assert "default_perf_points" in status["told"]["config"]
    room.config.write_text("default_perf_points: 7\n")
    room.clock.now_s += 2
    room.turn()
    assert room.collector.options.default_perf_points == 7
    assert "config" not in room.collector.requests.value_for(Status())["told"]


def test_batches_are_written_as_they_are_drained_without_async_save(
    tmp_path: Path, runtime: Path
) -> None:
    """``async_save: false`` leaves nothing unwritten after the round that drained it."""
    room = Room(tmp_path, runtime, "storage: {async_save: false}\n")
    try:
        worker = room.worker()
        for n in range(5):
            call = worker.call("tool", n)
            room.turn()
            assert room.ids("tool")[call.hex] == 1
    finally:
        room.close()


def test_kept_records_are_written_when_old_enough(room: Room) -> None:
    """A single record waits for its write no longer than the interval."""
    room.turn()
    worker = room.worker()
    worker.call("all")
    room.turn(3)
    assert room.lines("all") == []
    room.clock.now_s += 30
    room.turn(6)
    assert len(room.lines("all")) == 1


# --- statistics ----------------------------------------------------------------------------------


def test_statistics_of_an_empty_session_are_zeros(room: Room) -> None:
    """Where nothing was called nothing is counted."""
    assert room.stats() == {
        "total_calls": 0,
        "mode": "normal",
        "tools_tracked": 0,
        "tool_stats": {},
        "begun": 0,
        "in_flight": 0,
        "aborted": 0,
        "lost": {},
        "faults": {},
        "workers": 0,
        "complete": True,
    }


def test_statistics_of_an_unknown_tool_are_zeros_and_nulls(room: Room) -> None:
    """A tool that nobody called has no calls and no durations."""
    assert room.stats("nobody") == {
        "tool": "nobody",
        "count": 0,
        "avg_duration_s": None,
        "min_duration_s": None,
        "max_duration_s": None,
        "p50_s": None,
        "p95_s": None,
        "p99_s": None,
        "errors": 0,
        "aborted": 0,
        "sampled_out": 0,
        "current_size": 0,
        "max_size": 100,
        "last_updated": None,
    }


def test_statistics_count_outcomes(room: Room) -> None:
    """Errors and timeouts are errors, cancellations are not, and all of them are calls."""
    worker = room.worker()
    body = msgspec.msgpack.encode((None, "Oops"))
    for outcome in (Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT, Outcome.CANCELLED):
        worker.end(worker.begin("all"), body if outcome else b"", outcome)
    stats = room.stats("all")
    assert (stats["count"], stats["errors"], stats["aborted"]) == (4, 2, 0)
    assert stats["min_duration_s"] == stats["max_duration_s"] == pytest.approx(1e-6)
    assert stats["current_size"] == 4
    room.finish()
    found = [(line.get("status"), line.get("err")) for line in room.lines("all")]
    assert found == [
        (None, None),
        ("error", "Oops"),
        ("timeout", "Oops"),
        ("cancelled", "Oops"),
    ]


def test_statistics_of_a_storage_that_holds_nothing(tmp_path: Path) -> None:
    """A directory that does not exist answers like an empty one, and says it is not complete."""
    found = stats_on_disk(tmp_path / "nowhere", None, Options())
    assert_books_balance(found)
    assert (found["total_calls"], found["complete"]) == (0, False)
    assert stats_on_disk(tmp_path / "nowhere", "t", Options())["count"] == 0
    assert not (tmp_path / "nowhere").exists()


# --- requests ------------------------------------------------------------------------------------


@contextmanager
def running(room: Room) -> Iterator[Client]:
    """The collector's cycle in a thread, and somebody who asks."""
    with ThreadPoolExecutor(1) as executor:
        cycle = executor.submit(room.collector.run)
        try:
            yield Client(room.directory)
        finally:
            room.collector.stop()
            cycle.result(DEADLINE_S)


def test_requests_are_answered_after_a_look_at_every_ring(room: Room) -> None:
    """Statistics and flush include every call that had ended before they were asked for."""
    worker = room.worker()
    with running(room) as client:
        for n in range(1, 6):
            worker.call("all", n)
            assert client.ask(Stats("all"), 30)["count"] == n
            assert client.ask(Flush(), 30) is True
            assert len(room.lines("all")) == n
        assert client.ask(Mode(optimization=True), 30) == "optimization"
        assert client.ask(Stats(), 30)["mode"] == "optimization"
        assert client.ask(Status(), 30)["collector"]["pid"] == os.getpid()


def test_flush_without_storage_says_why(room: Room) -> None:
    """Who asks for the disk while there is none gets an error with the reason, and no hang."""
    worker = room.worker()
    worker.call("all")
    with storage_gone(room), running(room) as client:
        with pytest.raises(SessionError, match="storage is unavailable"):
            client.ask(Flush(), 30)
        assert client.ask(Stats(), 30)["total_calls"] == 1


def test_stop_is_answered_when_everything_is_on_disk(room: Room) -> None:
    """Whoever asks a collector to stop finds all lines when the answer comes."""
    worker = room.worker()
    calls = [worker.call("all").hex for _ in range(10)]
    with running(room) as client:
        assert client.ask(Stop(), 30) is True
        assert room.ids("all") == Counter(calls)
    assert room.stats_on_disk()["total_calls"] == 10


def test_slots_of_an_unknown_kind_are_passed_over_by_count(room: Room) -> None:
    """What stands beside a call is no call, and what a later version may write costs no other."""
    worker = room.worker()
    worker.call("all", 1)
    opened = worker.begin("all")
    assert worker._store(opened, (0, 0, 0), BESIDE, b"\xc4\x10" + bytes(16))
    worker.end(opened)
    room.turn(3)
    stats = room.collector.ledger.stats(None, 1, complete=True)
    assert stats["total_calls"] == 2
    assert stats["faults"]["record_refused"] == 1
    assert_books_balance(stats)
