"""The thread that writes: stuck, failing, and back again."""

from __future__ import annotations

import threading
from collections import UserDict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from shmperf.storage.writer import Disk
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
