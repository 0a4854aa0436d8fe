"""The thread that writes: stuck, failing, and back again."""

from __future__ import annotations

import threading
from collections import UserDict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from shmperf.storage.pace import Pace
from shmperf.storage.writer import Disk
from shmperf.storage.writerthread import WriterThread
from shmperf.testing import Clock
from tests.support import DEADLINE_S, wait_until


def test_stuck_disk_refuses_work_at_once(tmp_path: Path) -> None:
    """While one piece of work is stuck nobody waits for another, and closing leaves it behind."""
    clock, gate = Clock(), threading.Event()
    disk = Disk(tmp_path, longest_wait_s=0.05, clock=clock)
    assert disk.recover() is not None

    class Slow(UserDict[str, int]):
        def __iter__(self) -> Iterator[str]:
            gate.wait(DEADLINE_S)
            return super().__iter__()

    reached = []

    class Noting(UserDict[str, int]):
        def __iter__(self) -> Iterator[str]:
            reached.append(gate.is_set())
            return super().__iter__()

    assert disk.prepare(Slow(tool=1), {"tool": -1}, 1 << 30) is None
    assert disk.is_unavailable()
    assert disk.reason == "a write did not come back"
    assert disk.prepare(Noting(tool=1), {"tool": -1}, 1 << 30) is None
    gate.set()
    wait_until(lambda: not disk.is_unavailable(), "the stuck work to end")
    assert disk.prepare({"tool": 1}, {"tool": -1}, 1 << 30) is not None
    # The thread takes one work after the other: what was refused is never done.
    assert reached == []
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

    def state() -> bytes:
        tried.append(clock.now_s)
        return b"state"

    for _ in range(3000):
        disk.snapshot(state)
        assert disk.is_unavailable()
        clock.now_s += 0.1
    pauses = [round(b - a, 1) for a, b in pairwise(tried)]
    assert pauses[:4] == pytest.approx([1, 2, 4, 8], abs=0.21)
    assert max(pauses) <= 60.2
    place.unlink()
    clock.now_s += 61
    disk.snapshot(lambda: b"state")
    assert disk.reason == ""
    disk.close()


class Watched(Pace):
    """Progress that somebody looks at: ``looks`` counts how often."""

    looks = 0
    _beats = 0

    @property
    def beats(self) -> int:
        self.looks += 1
        return self._beats

    @beats.setter
    def beats(self, value: int) -> None:
        self._beats = value


def test_work_that_makes_progress_is_not_stuck() -> None:
    """However long it takes in sum; work that stops is given up once nothing has come since."""
    pace, gate, failed = Watched(Clock()), threading.Event(), threading.Event()
    thread = WriterThread(pace, Clock(), 0.05, failed.set)

    def long_work() -> bool:
        for item in pace.whole(range(5)):
            # Not before who waits for it has waited in vain once more.
            wait_until(lambda: pace.looks > 2 * item + 1, f"look {item}")  # noqa: B023  now
        return True

    assert thread.do(long_work) is True
    assert pace.looks > 8
    assert not failed.is_set()

    def dead_work() -> bool:
        next(pace.whole(range(5)))
        return gate.wait(DEADLINE_S)

    assert thread.do(dead_work) is None
    assert thread.is_unavailable()
    assert failed.is_set()
    gate.set()
    wait_until(lambda: not thread.is_unavailable(), "the stuck work to end")
    assert thread.end()


def test_calls_of_many_tools_go_to_as_many_files_as_there_is_time_for(tmp_path: Path) -> None:
    """What was not reached is not listed; whoever asks again for the others gets them, too."""
    clock = Clock()

    def ticking() -> float:
        clock.now_s += 0.02
        return clock.now_s

    disk = Disk(tmp_path, clock=ticking)
    counts = {f"tool-{n}": 1 for n in range(20)}
    limits = dict.fromkeys(counts, -1)
    rounds = 0
    while counts:
        prepared = disk.prepare(counts, limits, 1 << 30)
        assert prepared is not None
        assert prepared.files.keys() == prepared.reached == set(counts) & prepared.reached
        assert 0 < len(prepared.reached) < 6
        counts = {tool: 1 for tool in counts if tool not in prepared.reached}
        rounds += 1
    assert rounds >= 4
    assert len(list(tmp_path.glob("*.jsonl"))) == 20
    disk.close()
