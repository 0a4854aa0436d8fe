"""A room whose disk may be killed at any point, and a storage that is away for a while."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shmperf.storage.writer import Disk
from shmperf.testing import Room

LIMITS = "tool_limits: {all: -1, few: 3}\nstorage: {batch_size: 20}\n"
FEW = 3


class Killed(BaseException):
    """kill -9 of the collector, at this very point."""


class MortalDisk(Disk):
    """A disk whose user may be killed just before or just after any piece of work."""

    uses_left = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What others do in the thread, as reports are written.
        do = self.thread.do
        self.thread.do = lambda *work: self._mortal(lambda: do(*work))

    def cut(self, before_ns: Any) -> Any:
        return self._mortal(lambda: Disk.cut(self, before_ns))

    def append(self, payload: bytes, snapshot: Callable[[], bytes]) -> None:
        self._mortal(lambda: Disk.append(self, payload, snapshot))

    def snapshot(self, encode: Callable[[], bytes]) -> None:
        self._mortal(lambda: Disk.snapshot(self, encode))

    def prepare(self, counts: Any, limits: Any, outbox_bytes: int) -> Any:
        return self._mortal(lambda: Disk.prepare(self, counts, limits, outbox_bytes))

    def restore_files(self, listed: Any) -> Any:
        return self._mortal(lambda: Disk.restore_files(self, listed))

    def commit_outbox(self) -> None:
        self._mortal(lambda: Disk.commit_outbox(self))

    def append_calls(self, calls: Any, limits: Any) -> Any:
        return self._mortal(lambda: Disk.append_calls(self, calls, limits))

    def compact(self, limits: Any) -> Any:
        return self._mortal(lambda: Disk.compact(self, limits))

    def erase(self, files: Any, segments: Any) -> bool:
        return bool(self._mortal(lambda: Disk.erase(self, files, segments)))

    def steps(self, work: Any) -> Any:
        steps = Disk.steps(self, work)
        while (found := self._mortal(lambda: next(steps, steps))) is not steps:
            yield found

    def _mortal(self, work: Callable[[], Any]) -> Any:
        self._count()
        found = work()
        self._count()
        return found

    def _count(self) -> None:
        self.uses_left -= 1
        if self.uses_left == 0:
            raise Killed


def new_room(cwd: Path, runtime: Path, config: str = LIMITS) -> Room:
    """A room that keeps all of one tool and few of another."""
    return Room(
        cwd,
        runtime,
        config,
        lambda storage, clock: MortalDisk(storage, clock=clock),
    )


@contextmanager
def a_room(config: str = LIMITS) -> Iterator[Room]:
    """A room for each of many examples."""
    path = Path(tempfile.mkdtemp(prefix="sp-", dir="/tmp"))
    found = new_room(path, path, config)
    try:
        yield found
    finally:
        found.close()
        shutil.rmtree(path)


@contextmanager
def storage_gone(room: Room) -> Iterator[None]:
    """In the place of the storage directory stands a file, which root can't write into either."""
    aside = room.storage.with_name("aside")
    room.storage.rename(aside)
    room.storage.write_text("not a directory")
    yield
    room.storage.unlink()
    aside.rename(room.storage)
