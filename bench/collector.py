"""
What the collector can take: records a second, idle cost, latency and memory.

Records are stored by this process into a real segment and drained by a real collector in the same
process, in turn, so that one core's work is all that is measured.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import psutil

from shmperf.collector import Collector
from shmperf.control import Server
from shmperf.disk import Disk
from shmperf.meeting import Request, join
from shmperf.memory import remove_memory
from shmperf.options import Options
from shmperf.record import SLOT, Callee, meta_of
from shmperf.ring import RingWriter
from shmperf.segment import Segment
from shmperf.session import Session

from .measure import Row, private_place, row_of, run_python

__all__ = ["drain", "idle", "latency", "memory"]

_CHILDREN = 10
_PARENTS = 180
_BODY = msgspec.msgpack.encode((3, "abc"))


class _Rig:
    """A collector and one worker in this process."""

    def __init__(self, session: Session, segment: Segment) -> None:
        self.collector = Collector(session, Server(session.directory), Disk(session.storage))
        self.collector.open()
        self._segment = segment
        self._rows = segment.add_rows(1) or []
        self._rings: dict[int, RingWriter] = {}
        for number, tool in ((1, "child"), (2, "parent")):
            segment.add_callee(number, Callee(tool, ("a", "b")))
            ring = segment.add_ring(number, 4096)
            if ring is None:
                raise RuntimeError("no memory for a ring")
            self._rings[number] = ring
        self._now_ns = time.perf_counter_ns()

    def add_tools(self, count: int) -> None:
        """Rings of further tools, after the first two."""
        for number in range(3, 3 + count):
            self._segment.add_callee(number, Callee(f"tool{number}", ("params",)))
            ring = self._segment.add_ring(number, 16)
            if ring is not None:
                self._rings[number] = ring

    def begin(self, row: int) -> int:
        """Occupy a row."""
        word = self._rows[row]
        self._segment.words[word] += 64
        call_id: int = self._segment.words[word]
        return call_id

    def store(self, number: int, call_id: int, parent: int, body: bytes = _BODY) -> None:
        """Store one finished call of a tool."""
        self._now_ns += 500
        grant = self._rings[number].grant()
        if grant is None:
            raise RuntimeError("the ring is full")
        position = next(grant.positions)
        self._rings[number]._granted = position + SLOT.size
        meta = meta_of(number, 0, len(body))
        times = (self._now_ns - 400, self._now_ns)
        SLOT.pack_into(
            self._segment.buffer,
            position + grant.shift,
            call_id,
            parent,
            *times,
            meta,
            body,
            position,
        )

    def fill(self) -> int:
        """Families of a parent and its children; how many records that is."""
        for _ in range(_PARENTS):
            parent = self.begin(0)
            for _ in range(_CHILDREN):
                self.store(1, self.begin(1), parent)
            self.store(2, parent, 0)
        return _PARENTS * (_CHILDREN + 1)


@contextmanager
def _rig(options: Options | None = None) -> Iterator[_Rig]:
    with tempfile.TemporaryDirectory(prefix="sb-") as directory:
        environ = {"XDG_RUNTIME_DIR": directory}
        session = join(Request(directory, environ))
        if options is not None:
            session.publish(options)
        segment = session.announce(lambda name: Segment(name, budget_bytes=16 << 20))
        rig = _Rig(session, segment)
        try:
            yield rig
        finally:
            rig.collector.finish()
            remove_memory(segment.name, None)


def drain(*, quick: bool) -> list[Row]:
    """Records a second: counted, limited, settled into trees and journalled."""
    rates = []
    with _rig() as rig:
        for _ in range(20 if quick else 100):
            count = rig.fill()
            start = time.process_time()
            while rig.collector.step():
                pass
            rig.collector.commit()
            rates.append(count / (time.process_time() - start))
    name = "collector: counted, limited, settled, journalled"
    return [row_of(name, rates, "records/s", target=300_000, at_least=True)]


def idle(*, quick: bool) -> list[Row]:
    """What share of a core an idle step costs at the rate at which idle steps come."""
    shares = []
    now = [time.monotonic()]
    with _rig() as rig:
        rig.fill()
        while rig.collector.step():
            pass
        rig.collector._clock = lambda: now[0]
        wait_s = rig.collector.options.collector.idle_wait_ms / 1000
        for _ in range(10 if quick else 30):
            start = time.process_time()
            for _ in range(100):
                now[0] += wait_s
                rig.collector.server.wait(0)
                rig.collector.step()
            shares.append((time.process_time() - start) / 100 / wait_s * 100)
    return [row_of("collector: idle, one worker", shares, "% of a core", target=0.5)]


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


def latency(*, quick: bool) -> list[Row]:
    """From the end of a call to statistics that count it."""
    with private_place() as (cwd, environ):
        found = run_python(_LATENCY.format(rounds=100 if quick else 500), cwd, environ)
    figures = [float(text) for text in found.split()]
    p99 = figures[int(len(figures) * 0.99) - 1]
    rows = [row_of("end of call → counted in stats", figures, "ms")]
    rows.append(Row(name="the same, p99", value=p99, unit="ms", target=50, rounds=len(figures)))
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
    """Resident memory that 100 tools × 1,000 kept records take in the collector."""
    body = msgspec.msgpack.encode({"param1": "value1"})
    storage = msgspec.structs.replace(Options().storage, batch_size=batch_size)
    options = msgspec.structs.replace(Options(), default_perf_points=1000, storage=storage)
    process = psutil.Process(os.getpid())
    with _rig(options) as rig:
        rig.add_tools(100)
        rig.collector.step()
        before = process.memory_info()
        for _ in range(1000 // 10):
            for number in range(3, 103):
                for _ in range(10):
                    rig.store(number, rig.begin(1), 0, body)
            while rig.collector.step():
                pass
            rig.collector.commit()
            rig.collector.flush(force=False)
        after = process.memory_info()
        # The rig's own records lie in shared memory, which is the worker's.
        used = (after.rss - after.shared - before.rss + before.shared) / (1 << 20)
    name = f"collector: 100 tools × 1,000 kept records, {how}"
    return Row(name=name, value=used, unit="MiB", target=target)
