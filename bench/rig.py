"""
A collector and its workers in one process, so that one core's work is all that is measured.

Records are stored by this process into real segments, as workers would, and drained by a real
collector in the same thread, in turn.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from shmperf.collector.cycle import Collector
from shmperf.config.options import Options
from shmperf.session.rendezvous import Request, join
from shmperf.session.server import Server
from shmperf.session.session import Session, attach
from shmperf.shm.memory import remove_memory
from shmperf.shm.record import SLOT, Callee, meta_of
from shmperf.shm.ring import RingWriter
from shmperf.shm.segment import Segment
from shmperf.storage.writer import Disk

__all__ = ["Rig", "rig_of"]

_CHILDREN = 10
_PARENTS = 180
_BODY = msgspec.msgpack.encode((3, "abc"))


class Rig:
    """A collector and its workers' segments in this process."""

    def __init__(self, session: Session, clock: Callable[[], float]) -> None:
        disk = Disk(session.storage)
        self.collector = Collector(session, Server(session.directory), disk, clock=clock)
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

    def add_ring(self, segment: Segment, number: int, slots: int = 16) -> bool:
        """A ring for another tool; False when there is no memory for it."""
        return self._add_ring(segment, number, Callee(f"tool{number}", ("params",)), slots)

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
                raise RuntimeError("the ring is full: more was stored than it is made for")
            position = next(grant.positions)
        meta = meta_of(number, 0, len(body))
        times = (self._now_ns - 400, self._now_ns)
        at = position + ring.current.shift
        SLOT.pack_into(segment.buffer, at, call_id, parent, *times, meta, body, position)

    def fill_families(self) -> None:
        """Calls of a parent, each with its children."""
        for _ in range(_PARENTS):
            parent = self.begin(0)
            for _ in range(_CHILDREN):
                self.store(1, self.begin(1), parent)
            self.store(2, parent, 0)

    def fill_flat(self) -> None:
        """As many calls without children."""
        for _ in range(_PARENTS * (_CHILDREN + 1)):
            self.store(1, self.begin(1), 0)

    def run(self) -> int:
        """Drain and journal everything; how many records that was."""
        count = 0
        while read := self.collector.step():
            count += read
        self.collector.commit()
        return count

    def close(self) -> None:
        """Write everything and remove the memory."""
        self.collector.finish()
        for name in self._rows:
            remove_memory(name, None)


@contextmanager
def rig_of(
    options: Options | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Rig]:
    """A rig in a place of its own, with *options* or the defaults, and the collector's *clock*."""
    with tempfile.TemporaryDirectory(prefix="sb-") as directory:
        environ = {"XDG_RUNTIME_DIR": directory}
        session = join(Request(directory, environ))
        if options is not None:
            session.settings.publish(options)
        rig = Rig(session, clock)
        try:
            yield rig
        finally:
            rig.close()
