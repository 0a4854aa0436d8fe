"""
A session in one process, made of the real parts: for tests that look at what is kept of calls.

    room = Room(tmp_path, tmp_path)     a session, and its collector, which `turn` drives
    worker = room.worker()              real shared memory, written one step at a time
    worker.call("tool", 1)
    room.turn()                         a round: found, drained, journalled
    room.finish()                       the workers die; everything is written
    room.lines("tool")

Nothing here is a mock: segments, journal and history are those of a running program, and only the
clock is a test's own. A `ScriptedWorker` leaves what a worker leaves that is killed at any point.

Why not threads and sleeps: a round happens when the test says so, so that a failure is the same
every time.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shmperf.analysis.stats import plain
from shmperf.collector.cycle import Collector
from shmperf.collector.pace import Clocks, Waits
from shmperf.files import internals
from shmperf.session.presence import HERE, Identity
from shmperf.session.rendezvous import Request, join
from shmperf.session.server import Server
from shmperf.session.session import attach
from shmperf.shm.fence import PUBLISHED
from shmperf.shm.inflight import (
    CALLEE,
    GENERATION_STEP,
    IN_DETAIL,
    PARENT,
    START,
    block_of,
    mark_loss,
)
from shmperf.shm.memory import SHARED_MEMORY, remove_memory
from shmperf.shm.record import (
    BLOCK,
    BODY_BYTES,
    DETAIL,
    PARTS,
    Callee,
    Outcome,
    meta_of,
    seal,
)
from shmperf.shm.remote import Remote, RemoteWriter
from shmperf.shm.ring import Grant, RingWriter
from shmperf.shm.segment import Loss, Segment
from shmperf.storage.reading import lines_of
from shmperf.storage.state import stats_on_disk
from shmperf.storage.writer import Disk

__all__ = ["BegunCall", "Clock", "Room", "ScriptedWorker", "assert_books_balance"]

# Longer than the collector here waits between two frames, so that each round journals.
_TURN_S = 0.51
# A room's clock is nobody else's: what a storage knows of clocks before, it knows of other boots.
_BOOT = "a room"
_WAITS = Waits(commit_s=0.5)
_TICK_NS = 1_000
_HALF_A_FRAME = b"\x40\0\0\0\1\2\3\4half a frame"
_LINE_AND_A_HALF = b'{"tool":"all","timestamp":"2026-01-01","data":{"id":"0"}}\n{"to'


def assert_books_balance(stats: Mapping[str, Any]) -> None:
    """begun = finished + lost + aborted + in flight, and nothing is negative; AssertionError."""
    lost = sum(stats["lost"].values())
    counts = (stats["total_calls"], lost, stats["aborted"], stats["in_flight"])
    if min(counts) < 0 or stats["begun"] != sum(counts):
        raise AssertionError(f"the books do not balance: {stats}")


class Clock:
    """Monotonic seconds that pass only when a test adds to ``now_s``."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """What the clock shows."""
        return self.now_s


class BegunCall(NamedTuple):
    """A call that has begun: its row (an index of the segment's words), its id, its parent's id."""

    tool: str
    row: int
    id: int
    parent: int
    start_ns: int

    @property
    def hex(self) -> str:
        """Its id as history writes it."""
        return f"{self.id:016x}"


class _Lane:
    """A tool's ring and the grant in use."""

    def __init__(self, callee: int, writer: RingWriter) -> None:
        self.callee = callee
        self.writer = writer
        self.grant: Grant | None = None

    def next_position(self) -> int | None:
        """Where the next slot is to be stored; None when the ring is full."""
        self.grant = self.grant or self.writer.grant()
        while self.grant is not None:
            for position in self.grant.positions:
                return position
            self.grant = self.writer.grant()
        return None


class ScriptedWorker:
    """
    The other side of the bytes: what a worker process does, one step at a time.

    It enters the session in *directory*; *tick* gives the nanoseconds at which a call begins or
    ends. Rings have that many *slots*; *sealed* chooses the store discipline (None: this machine's
    own). ``segment`` and ``presence`` are its memory and the file that announces it, ``ready`` the
    rows in which no call is open, ``begun`` counts calls.
    """

    def __init__(
        self,
        directory: Path,
        tick: Callable[[], int],
        *,
        slots: int = 16,
        sealed: bool | None = None,
        budget_bytes: int = 4 << 20,
    ) -> None:
        self.session = attach(directory)
        self.segment = self.session.announce(
            lambda name: Segment(name, budget_bytes=budget_bytes, pid=os.getpid(), sealed=sealed)
        )
        self.presence = directory / f"{HERE}{self.segment.name}"
        # Of this pid, but not of this process: alive as long as the lock is held and no longer.
        ours = Identity.of_this_process()
        stranger = Identity(ours.pid, ours.start_ticks + 1, ours.namespace)
        self.presence.write_bytes(msgspec.msgpack.encode(stranger))
        self.ready = self.segment.add_rows(self.session.next_blocks(1)) or []
        block = block_of(self.segment.words[self.ready[0]])
        self.remotes = RemoteWriter(self.segment.buffer, block)
        self.begun = 0
        self.is_alive = True
        self._tick = tick
        self._slots = slots
        self._lanes: dict[str, _Lane] = {}
        self._counters: dict[str, int] = {}

    # --- calls -----------------------------------------------------------------------------------

    def add_tool(self, tool: str, params: tuple[str, ...] = ("n",), slots: int = 0) -> None:
        """
        Name *tool* and its parameters and make its ring, as its first call does otherwise.

        *slots* goes before the worker's own; RuntimeError without memory for it.
        """
        callee = len(self._lanes) + 1
        is_named = self.segment.add_callee(callee, Callee(tool, params))
        ring = self.segment.add_ring(callee, slots or self._slots)
        if not is_named or ring is None:
            raise RuntimeError(f"no memory for a ring of {tool}")
        self._lanes[tool] = _Lane(callee, ring)

    def begin(self, tool: str, parent: int = 0, *, in_detail: bool = False) -> BegunCall:
        """Open a call of *tool* beneath the call with the id *parent*, in one mode or the other."""
        lane = self._lane(tool)
        words, row = self.segment.words, self.ready.pop()
        call_id = words[row] + GENERATION_STEP
        start_ns = self._tick()
        words[row + START], words[row + PARENT] = start_ns, parent
        words[row + CALLEE] = lane.callee | (IN_DETAIL if in_detail else 0)
        words[row] = call_id
        self.begun += 1
        return BegunCall(tool, row, call_id, parent, start_ns)

    def end(self, call: BegunCall, body: bytes = b"", kind: int = Outcome.OK) -> bool:
        """Store the call's record, or count it as lost; True when it is stored."""
        stored = self.store(call, (call.parent, call.start_ns, self._tick()), kind, body)
        if not stored:
            mark_loss(self.segment.words, call.row, call.id)
            self.segment.count_loss(Loss.RING_FULL)
        self.ready.append(call.row)
        return stored

    def call(self, tool: str, n: int = 0, parent: int = 0) -> BegunCall:
        """A whole call with the parameter *n*."""
        opened = self.begin(tool, parent)
        self.end(opened, msgspec.msgpack.encode({"n": n}))
        return opened

    def take_up(self, remote: Remote) -> int:
        """The id of a context from elsewhere, as the parent of calls that it has led to."""
        if self.remotes.wants_more():
            self.segment.extend(self.remotes)
        return self.remotes.put(remote)

    def leave_out(self, tool: str, calls: int = 1) -> None:
        """So many *calls* of a sampled tool, ended without a record."""
        lane = self._lane(tool)
        if tool not in self._counters:
            place = self.segment.add_counter(lane.callee)
            if place is None:
                raise RuntimeError(f"no memory for a counter of {tool}")
            self._counters[tool] = place
        self.segment.words[self._counters[tool]] += calls
        self.begun += calls

    def end_in_detail(self, call: BegunCall, params: Mapping[str, Any]) -> None:
        """End a call that failed as optimization mode records it."""
        fields = (params, 1 << 20, 50.0, "ValueError", "all of it", {"seen": 1})
        self.end(call, msgspec.msgpack.encode(fields), DETAIL | Outcome.ERROR)

    def end_in_parts(self, call: BegunCall, body: bytes, *, without: int = 0) -> None:
        """Store a body that is longer than a slot's; *without* leaves that part out."""
        first = BODY_BYTES - 2
        rest = [body[at : at + BODY_BYTES] for at in range(first, len(body), BODY_BYTES)]
        for number, part in enumerate(rest, 1):
            if number != without and not self.store(call, (number, 0, 0), PARTS, part):
                raise RuntimeError("the ring is full")
        self.end(call, len(rest).to_bytes(2, "little") + body[:first], PARTS)

    def end_in_blob(self, call: BegunCall, body: bytes, name: str = "") -> str:
        """Store a body in memory of its own; *name* is what the slot says instead of the truth."""
        blob = self.segment.add_blob(body)
        if blob is None:
            raise RuntimeError("no memory for a body")
        self.end(call, msgspec.msgpack.encode((name or blob, len(body))), BLOCK)
        return blob

    def store(
        self, call: BegunCall, words: tuple[int, int, int], kind: int, body: bytes = b""
    ) -> bool:
        """
        Store one slot of a call and nothing else; False when the ring is full.

        *words* are parent, start and end; of a part its number, 0 and 0. Whatever they say is
        stored, as a broken worker would.
        """
        lane = self._lane(call.tool)
        position = lane.next_position()
        if position is None or lane.grant is None:
            return False
        meta = meta_of(lane.callee, kind, len(body))
        if self.segment.sealed:
            meta = seal((call.id, *words), meta, body)
        at = position + lane.grant.shift
        PUBLISHED.pack_into(self.segment.buffer, at, call.id, *words, meta, body, position)
        return True

    def nameless(self, tool: str) -> None:
        """Leave *tool* without a line in the name table, as a worker with too many tools does."""
        self.segment.add_nameless(tool)
        ring = self.segment.add_shared_ring()
        if ring is None:
            raise RuntimeError("no memory for a shared ring")
        self._lanes[tool] = _Lane(len(self._lanes) + 1, ring)

    # --- ends ------------------------------------------------------------------------------------

    def store_first_part(self, call: BegunCall) -> None:
        """What a worker that is killed in the middle of a long record leaves."""
        if not self.store(call, (1, 0, 0), PARTS, b"x" * BODY_BYTES):
            raise RuntimeError("the ring is full")

    def grow(self, tool: str) -> None:
        """Go on in a larger ring than the present one, whose grants are used up."""
        lane = self._lane(tool)
        larger = self.segment.add_ring(lane.callee, lane.writer.slots * 4)
        if larger is None:
            raise RuntimeError(f"no memory for a larger ring of {tool}")
        former, lane.writer, lane.grant = lane.writer, larger, None
        former.retire()

    def take_position(self, tool: str) -> None:
        """What a worker that is killed between taking and storing leaves: a hole."""
        if self._lane(tool).next_position() is None:
            raise RuntimeError("the ring is full")

    def die(self) -> None:
        """kill -9: the lock is gone, everything else stays as it is."""
        self.is_alive = False
        self.session.after_fork()

    def close(self) -> None:
        """Leave no memory behind, whatever has become of it."""
        if self.is_alive:
            self.die()
        remove_memory(self.segment.name, self.session.directory)
        self.segment.close()

    def _lane(self, tool: str) -> _Lane:
        if tool not in self._lanes:
            self.add_tool(tool)
        return self._lanes[tool]


class Room:
    """
    A session, its workers and its collector, in one process and with a clock of its own.

    *cwd* is where ``perf_data`` and, with *config* (YAML), the configuration are written; *runtime*
    is the session's runtime directory, whose path must be short enough for a socket. *disk* makes
    what writes, of a storage directory and a clock. Its clocks are the room's own, whose
    time `wait` passes. `close` it whatever happens.
    """

    def __init__(
        self,
        cwd: Path,
        runtime: Path,
        config: str = "",
        disk: Callable[[Path, Clock], Disk] | None = None,
    ) -> None:
        self.clock = Clock()
        self.config = cwd / "config/tool_perf_limits.yaml"
        if config:
            self.config.parent.mkdir(parents=True, exist_ok=True)
            self.config.write_text(config)
        self.storage = cwd / "perf_data"
        self.session = join(Request(str(cwd), {"XDG_RUNTIME_DIR": str(runtime)}))
        self.directory = self.session.directory
        self.workers: list[ScriptedWorker] = []
        self._now_ns = 10**12
        # What the wall clock shows beyond the monotonic one.
        self.offset_ns = 1_700_000_000 * 10**9
        self._make_disk = disk or (lambda storage, clock: Disk(storage, clock=clock))
        self.collector = self._collector()

    @property
    def begun(self) -> int:
        """Calls that have begun in any worker."""
        return sum(worker.begun for worker in self.workers)

    def tick(self) -> int:
        """A microsecond passes for the workers; their time in nanoseconds."""
        self._now_ns += _TICK_NS
        return self._now_ns

    def pass_ns(self, duration_ns: int) -> None:
        """So much time passes for the workers, between a call's begin and its end perhaps."""
        self._now_ns += duration_ns

    def worker(
        self, *, slots: int = 16, sealed: bool | None = None, budget_bytes: int = 4 << 20
    ) -> ScriptedWorker:
        """Another worker; as `ScriptedWorker` says."""
        found = ScriptedWorker(
            self.directory, self.tick, slots=slots, sealed=sealed, budget_bytes=budget_bytes
        )
        self.workers.append(found)
        return found

    # --- the collector ---------------------------------------------------------------------------

    def turn(self, count: int = 1) -> int:
        """Rounds of the cycle, in each of which everything journals; the records drained."""
        handled = 0
        for _ in range(count):
            self.wait(_TURN_S)
            handled += self.collector.step()
        return handled

    def wait(self, seconds: float) -> None:
        """Time passes, for everybody in the room."""
        self.clock.now_s += seconds
        self._now_ns += round(seconds * 1e9)

    def kill(self, *, torn: bool = False) -> None:
        """kill -9 of the collector, and another one; *torn* leaves half-written bytes behind."""
        # Bytes are only ever appended to a file that the journal lists.
        state = self.collector.ledger.state
        files = [*state.files.values(), *state.outbox.files.values()]
        listed = {file.inode for file in files}
        self._drop()
        if torn:
            for path in internals(self.storage).glob("journal.[0-9]*"):
                _append(path, _HALF_A_FRAME)
            for path in [
                *self.storage.glob("*.jsonl"),
                *internals(self.storage).glob("outbox/*.jsonl"),
            ]:
                if path.stat().st_ino in listed:
                    _append(path, _LINE_AND_A_HALF)
        self.collector = self._collector()

    def finish(self) -> None:
        """The end of a session: the workers die, everything is drained and written."""
        for worker in self.workers:
            if worker.is_alive:
                worker.die()
        self.collector.finish()

    def close(self) -> None:
        """Let go of everything; AssertionError when a worker's memory is still there."""
        self._drop()
        for worker in self.workers:
            worker.close()
        left = [one.segment.name for one in self.workers if _has_memory(one.segment.name)]
        if left:
            raise AssertionError(f"left behind: {left}")

    # --- what is kept ----------------------------------------------------------------------------

    def stats(self, tool: str | None = None) -> dict[str, Any]:
        """What the running collector answers, as `shmperf.get_perf_stats`; its books balance."""
        self.collector.settle()
        found = plain(self.collector.ledger.stats(tool, len(self.collector.workers), complete=True))
        if tool is None:
            assert_books_balance(found)
        return found

    def stats_on_disk(self) -> dict[str, Any]:
        """What is answered without a collector; its books balance."""
        found = stats_on_disk(self.storage, None, self.collector.options)
        assert_books_balance(found)
        return found

    def lines(self, tool: str) -> list[dict[str, Any]]:
        """The history of *tool*, oldest first, each line's ``data``; segments included."""
        return [json.loads(text)["data"] for text in lines_of(self.storage, tool)]

    def ids(self, tool: str) -> Counter[str]:
        """How often each id stands in the history of *tool*."""
        return Counter(line["id"] for line in self.lines(tool))

    def _collector(self) -> Collector:
        session = attach(self.directory)
        disk = self._make_disk(self.storage, self.clock)
        clocks = Clocks(self.clock, lambda: self._now_ns)
        server = Server(self.directory)
        collector = Collector(session, server, disk, waits=_WAITS, clocks=clocks)
        wall = collector.parts.wall
        wall.monotonic_ns = lambda: self._now_ns
        wall.wall_ns = lambda: self.offset_ns + self._now_ns
        wall.boot_id = _BOOT
        collector.open()
        return collector

    def _drop(self) -> None:
        # What the kernel does at a kill: descriptors and mappings go, nothing is written.
        self.collector.server.close()
        for worker in self.collector.workers.values():
            worker.close()
        self.collector.workers.clear()
        self.collector.disk.close()


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def _has_memory(segment: str) -> bool:
    return (SHARED_MEMORY / segment).exists()
