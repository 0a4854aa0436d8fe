"""
A collector and its workers in one process, so that one core's work is all that is measured.

It is the room that users' tests have: scripted workers store records into real segments, and a real
collector drains them in the same thread, in turn.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shmperf.shm.record import Outcome
from shmperf.testing import Room, ScriptedWorker

__all__ = ["Rig", "rig_of"]

_CHILDREN = 10
_PARENTS = 180
_BODY = msgspec.msgpack.encode((3, "abc"))
_BUDGET_BYTES = 16 << 20
_SHORT_NS = 400


class Rig:
    """A room with a worker whose tools, a parent and its child, have rings for what fills them."""

    def __init__(self, room: Room) -> None:
        self.collector = room.collector
        self.clock = room.clock
        self.storage = room.storage
        self._room = room
        self.worker = self.join()
        for tool in ("child", "parent"):
            self.worker.add_tool(tool, ("a", "b"), 4096)

    def join(self) -> ScriptedWorker:
        """A further worker."""
        return self._room.worker(budget_bytes=_BUDGET_BYTES)

    def store(
        self, tool: str, parent: int = 0, body: bytes = _BODY, worker: ScriptedWorker | None = None
    ) -> None:
        """A whole call of *tool*; RuntimeError when its ring is full."""
        worker = worker or self.worker
        if not worker.end(worker.begin(tool, parent), body):
            raise RuntimeError("the ring is full: more was stored than it is made for")

    def fill_families(self) -> None:
        """Calls of a parent, each with its children."""
        for _ in range(_PARENTS):
            parent = self.worker.begin("parent")
            for _ in range(_CHILDREN):
                self.store("child", parent.id)
            # As short as its children and behind them, so that figures compare with former ones:
            # one that spans them, as a true call does, takes the tree 10 to 17 % longer.
            now_ns = self._room.tick()
            self.worker.store(parent, (0, now_ns - _SHORT_NS, now_ns), Outcome.OK, _BODY)
            self.worker.ready.append(parent.row)

    def fill_flat(self) -> None:
        """As many calls without children."""
        for _ in range(_PARENTS * (_CHILDREN + 1)):
            self.store("child")

    def run(self) -> int:
        """
        Drain and journal everything; how many records that was.

        Time passes here alone: how long filling takes decides on nothing that is measured.
        """
        count, read = 0, 1
        ahead_s = self.clock.now_s - time.monotonic()
        while read:
            read = self.collector.step()
            self.clock.now_s = time.monotonic() + ahead_s
            count += read
        self.collector.commit()
        self.clock.now_s = time.monotonic() + ahead_s
        return count


@contextmanager
def rig_of(config: str = "") -> Iterator[Rig]:
    """A rig in a place of its own, with the configuration *config* (YAML) or the defaults."""
    with tempfile.TemporaryDirectory(prefix="sb-") as directory:
        room = Room(Path(directory), Path(directory), config)
        try:
            yield Rig(room)
            room.finish()
        finally:
            room.close()
