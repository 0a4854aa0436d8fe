"""
What the collector can take: records a second, idle cost, latency and memory.

Records are stored by this process into a real segment and drained by a real collector in the same
process, in turn, so that one core's work is all that is measured.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import psutil

from shmperf import store
from shmperf.calltree import CallTree
from shmperf.collector import Collector
from shmperf.control import Server
from shmperf.disk import Disk
from shmperf.intake import Intake
from shmperf.meeting import Request, join
from shmperf.memory import remove_memory
from shmperf.options import Options
from shmperf.record import SLOT, Callee, meta_of
from shmperf.ring import RingReader, RingWriter
from shmperf.segment import Segment
from shmperf.session import Session, attach
from shmperf.totals import Totals

from .measure import Row, private_place, row_of, run_python

__all__ = ["drain", "idle", "latency", "memory"]

_CHILDREN = 10
_PARENTS = 180
_BODY = msgspec.msgpack.encode((3, "abc"))


class _Rig:
    """A collector and its workers' segments in this process."""

    def __init__(self, session: Session) -> None:
        self.collector = Collector(session, Server(session.directory), Disk(session.storage))
        self.collector.open()
        self._session = session
        self._rows: dict[str, list[int]] = {}
        self._rings: dict[tuple[str, int], RingWriter] = {}
        self._now_ns = time.perf_counter_ns()
        self.segment = self.join()
        for number, tool in ((1, "child"), (2, "parent")):
            self._add_ring(self.segment, number, Callee(tool, ("a", "b")), 4096)

    def join(self) -> Segment:
        """A further worker."""
        session = attach(self._session.directory)
        segment = session.announce(lambda name: Segment(name, budget_bytes=16 << 20))
        self._rows[segment.name] = segment.add_rows(len(self._rows) + 1) or []
        return segment

    def add_ring(self, segment: Segment, number: int) -> bool:
        """A ring for another tool."""
        callee = Callee(f"tool{number}", ("params",))
        return self._add_ring(segment, number, callee, 1024 if number < 20 else 16)

    def _add_ring(self, segment: Segment, number: int, callee: Callee, slots: int) -> bool:
        segment.add_callee(number, callee)
        ring = segment.add_ring(number, slots)
        if ring is not None:
            self._rings[segment.name, number] = ring
        return ring is not None

    def begin(self, row: int, segment: Segment | None = None) -> int:
        """Occupy a row."""
        segment = segment or self.segment
        word = self._rows[segment.name][row]
        segment.words[word] += 64
        call_id: int = segment.words[word]
        return call_id

    def store(
        self,
        number: int,
        call_id: int,
        parent: int,
        body: bytes = _BODY,
        segment: Segment | None = None,
    ) -> None:
        """Store one finished call of a tool."""
        segment = segment or self.segment
        self._now_ns += 500
        ring = self._rings[segment.name, number]
        position = next(ring.current.positions, None)
        if position is None:
            grant = ring.grant()
            if grant is None:
                return
            position = next(grant.positions)
        meta = meta_of(number, 0, len(body))
        times = (self._now_ns - 400, self._now_ns)
        at = position + ring.current.shift
        SLOT.pack_into(segment.buffer, at, call_id, parent, *times, meta, body, position)

    def fill(self) -> int:
        """Families of a parent and its children; how many records that is."""
        for _ in range(_PARENTS):
            parent = self.begin(0)
            for _ in range(_CHILDREN):
                self.store(1, self.begin(1), parent)
            self.store(2, parent, 0)
        return _PARENTS * (_CHILDREN + 1)

    def fill_flat(self) -> int:
        """Calls without children."""
        count = _PARENTS * (_CHILDREN + 1)
        for _ in range(count):
            self.store(1, self.begin(1), 0)
        return count

    def run(self) -> None:
        """Drain and journal everything."""
        while self.collector.step():
            pass
        self.collector.commit()

    def close(self) -> None:
        """Write everything and remove the memory."""
        self.collector.finish()
        for name in self._rows:
            remove_memory(name, None)


@contextmanager
def _rig(options: Options | None = None) -> Iterator[_Rig]:
    with tempfile.TemporaryDirectory(prefix="sb-") as directory:
        environ = {"XDG_RUNTIME_DIR": directory}
        session = join(Request(directory, environ))
        if options is not None:
            session.publish(options)
        rig = _Rig(session)
        try:
            yield rig
        finally:
            rig.close()


def drain(*, quick: bool) -> list[Row]:
    """Records a second on one core; where the time goes; many tools and many workers."""
    rounds = 20 if quick else 100
    rows = [
        _rate("counted and limited", _Rig.fill_flat, rounds, target=1_000_000),
        _rate("settled into trees and journalled as well", _Rig.fill, rounds, target=600_000),
        _rate("every record formatted and written", _Rig.fill_flat, rounds, 300_000, limit=-1),
    ]
    rows += _stages(rounds)
    for tools in (1, 100) if quick else (1, 10, 100, 1_000):
        rows.append(_spread(tools, 1, rounds // 4))
    for workers in (20,) if quick else (20, 200):
        rows.append(_spread(10, workers, rounds // 4))
    return rows


def _rate(
    name: str, fill: Callable[[_Rig], int], rounds: int, target: float, limit: int = 100
) -> Row:
    rates = []
    options = msgspec.structs.replace(Options(), default_perf_points=limit)
    with _rig(options) as rig:
        for _ in range(rounds):
            count = fill(rig)
            start = time.process_time()
            rig.run()
            if limit < 0:
                rig.collector.flush(force=True)
            rates.append(count / (time.process_time() - start))
    return row_of(f"drain: {name}", rates, "records/s", target=target, at_least=True)


def _stages(rounds: int) -> list[Row]:
    """Where the time goes, by wrapping what each stage calls once a batch or once a frame."""
    spent: dict[str, int] = {}
    count = 0
    options = msgspec.structs.replace(Options(), default_perf_points=-1)
    with ExitStack() as stack:
        rig = stack.enter_context(_rig(options))
        for name, owner, attribute in _STAGES:
            stack.enter_context(_counting(spent, name, owner, attribute))
        for _ in range(rounds):
            count += rig.fill()
            rig.run()
            rig.collector.flush(force=True)
    rows = []
    for name, _, _ in _STAGES:
        # A stage that contains another one names it.
        inner = sum(spent[other] for other in _WITHIN.get(name, ()))
        value = (spent[name] - inner) / count / 1000
        rows.append(Row(name=f"drain, limit -1, of which: {name}", value=value, unit="µs/record"))
    return rows


_STAGES: tuple[tuple[str, object, str], ...] = (
    ("read", RingReader, "read"),
    ("totals", Totals, "add"),
    ("tree, taking in", CallTree, "add"),
    ("tree, settling", CallTree, "pass_done"),
    ("decode", Intake, "close_frame"),
    ("journal", Disk, "append"),
    ("format", store, "jsonl"),
    ("write", store.History, "append_all"),
)
_WITHIN = {"write": ("format",)}


@contextmanager
def _counting(spent: dict[str, int], name: str, owner: Any, attribute: str) -> Iterator[None]:
    function = getattr(owner, attribute)
    spent[name] = 0

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter_ns()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.perf_counter_ns() - start

    setattr(owner, attribute, timed)
    try:
        yield
    finally:
        setattr(owner, attribute, function)


def _spread(tools: int, workers: int, rounds: int) -> Row:
    """The same number of records from more rings."""
    rates = []
    with _rig() as rig:
        segments = [rig.segment, *(rig.join() for _ in range(workers - 1))]
        rings = [
            (segment, number)
            for segment in segments
            for number in range(10, 10 + tools)
            if rig.add_ring(segment, number)
        ]
        each = max(1, 3_000 // len(rings))
        for _ in range(max(3, rounds)):
            for segment, number in rings:
                for _ in range(min(each, 1_000)):
                    rig.store(number, rig.begin(2, segment), 0, segment=segment)
            start = time.process_time()
            rig.run()
            spent = time.process_time() - start
            rates.append(len(rings) * min(each, 1_000) / spent)
    name = f"drain: {tools:,} tools, {workers} workers, {each:,} records a ring"
    return row_of(name, rates, "records/s")


def idle(*, quick: bool) -> list[Row]:
    """What share of a core idle steps cost at the rate at which they come."""
    rounds = 10 if quick else 30
    rows = [_idle("one worker", 1, 1, rounds, 0.5)]
    rows.append(_idle("64 workers × 1,000 tools", 64, 1_000, rounds, 1.0))
    return rows


def _idle(name: str, workers: int, tools: int, rounds: int, target: float) -> Row:
    shares = []
    now = [time.monotonic()]
    with _rig() as rig:
        for segment in [rig.segment, *(rig.join() for _ in range(workers - 1))]:
            for number in range(20, 20 + tools):
                rig.add_ring(segment, number)
        rig.fill()
        rig.run()
        rig.collector._clock = lambda: now[0]
        wait_s = rig.collector.options.collector.idle_wait_ms / 1000
        for _ in range(rounds):
            start = time.process_time()
            for _ in range(100):
                now[0] += wait_s
                rig.collector.server.wait(0)
                rig.collector.step()
            shares.append((time.process_time() - start) / 100 / wait_s * 100)
    return row_of(f"collector: idle, {name}", shares, "% of a core", target=target)


_LATENCY = """
import time, shmperf
@shmperf.track
def tool(): pass
tool(); shmperf.get_perf_stats("tool")
found = []
for n in range({rounds}):
    tool()
    start = time.perf_counter()
    count = shmperf.get_perf_stats("tool")["count"]
    found.append((time.perf_counter() - start) * 1000)
    assert count == n + 2, (count, n)
    time.sleep(0.013)
print(" ".join(map(str, sorted(found))))
"""


_LOADED = """
import subprocess, sys
load = [subprocess.Popen([sys.executable, "-c", {load!r}], stdin=subprocess.PIPE) for _ in "12"]
exec({code!r})
for program in load:
    program.kill()
    program.communicate()
"""
_LOAD = """
import shmperf
@shmperf.track
def load(): sum(range(300))
while True: load()
"""


def latency(*, quick: bool) -> list[Row]:
    """From the end of a call to statistics that count it."""
    code = _LATENCY.format(rounds=100 if quick else 500)
    rows = _latency("", code, target=50)
    return rows + _latency(", two busy workers beside it", _LOADED.format(load=_LOAD, code=code))


def _latency(where: str, code: str, target: float | None = None) -> list[Row]:
    with private_place() as (cwd, environ):
        found = run_python(code, cwd, environ)
    figures = [float(text) for text in found.split()]
    p99 = figures[int(len(figures) * 0.99) - 1]
    name = f"end of a call → counted{where}"
    rows = [row_of(name, figures, "ms")]
    rows.append(Row(name=f"{name}, p99", value=p99, unit="ms", target=target, rounds=len(figures)))
    return rows


_SHARED = """
import os, shmperf
from shmperf.worker import worker
for n in range({tools}):
    tool = shmperf.track(name="tool%d" % n)(lambda x: x)
    for _ in range({calls}):
        tool(1)
print(os.stat("/dev/shm/" + worker.segment.name).st_blocks * 512 / 2**20)
"""


def memory(*, quick: bool) -> list[Row]:
    """Shared memory of a worker, and what kept records take in the collector."""
    rows = []
    for tools, calls in ((1, 100_000), (100, 1_000), (1_000, 100)):
        with private_place() as (cwd, environ):
            code = _SHARED.format(tools=tools, calls=calls // 10 if quick else calls)
            used = float(run_python(code, cwd, environ))
        name = f"worker: shared memory, {tools:,} tools"
        rows.append(Row(name=name, value=used, unit="MiB", target=6))
    rows.append(_kept("written as by default", Options().storage.batch_size, target=10))
    rows.append(_kept("while nothing can be written", 1_000_000))
    return rows


def _kept(how: str, batch_size: int, target: float | None = None) -> Row:
    """Resident memory that 100 tools × 1,000 kept records take in a fresh collector."""
    with private_place() as (cwd, environ):
        code = f"from bench.collector import kept_mib; print(kept_mib({batch_size}))"
        used = float(run_python(code, cwd, environ))
    name = f"collector: 100 tools × 1,000 kept records, {how}"
    return Row(name=name, value=used, unit="MiB", target=target)


def kept_mib(batch_size: int) -> float:
    """The same in this process."""
    storage = msgspec.structs.replace(Options().storage, batch_size=batch_size)
    options = msgspec.structs.replace(Options(), default_perf_points=1000, storage=storage)
    body = msgspec.msgpack.encode({"param1": "value1"})
    process = psutil.Process(os.getpid())
    with _rig(options) as rig:
        for number in range(3, 103):
            rig.add_ring(rig.segment, number)
        rig.collector.step()
        before = process.memory_info()
        for _ in range(1000 // 10):
            for number in range(3, 103):
                for _ in range(10):
                    rig.store(number, rig.begin(1), 0, body)
            rig.run()
            rig.collector.flush(force=False)
        after = process.memory_info()
    # The rig's own records lie in shared memory, which is the worker's.
    return (after.rss - after.shared - before.rss + before.shared) / (1 << 20)
