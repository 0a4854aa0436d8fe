"""Memory that is given back."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from shmperf.collector.heap import Heap
from shmperf.compiled.chosen import hot, why_not
from shmperf.testing import Clock


def test_memory_is_given_back_after_a_flush_and_not_all_the_time() -> None:
    """Once for each, at most once in a while, and what was put off is not forgotten."""
    clock, given = Clock(), list[float]()
    heap = Heap(clock, lambda: given.append(clock.now_s))
    heap.look()
    assert given == []
    for wait_s in (0.0, 0.0, 0.05, 0.06, 5.0):
        clock.now_s += wait_s
        if wait_s < 0.06:
            heap.note_flush()
        heap.look()
    assert given == pytest.approx([1000.0, 1000.11])


def test_where_nobody_can_be_asked_nothing_happens() -> None:
    """The path in Python has nobody."""
    heap = Heap(Clock(), None)
    heap.note_flush()
    heap.look()


@pytest.mark.skipif(hot is None, reason=f"no compiled path: {why_not}")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_free_below_what_stays_is_given_back() -> None:
    """Blocks too small to have memory of their own, between some that stay."""
    blocks = [bytes(60_000) for _ in range(800)]
    kept = blocks[::16]
    del blocks
    before = _resident_kib()
    assert hot.give_back()
    assert before - _resident_kib() > 20_000
    assert len(kept) == 50


def _resident_kib() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Anonymous:")).split()[1])
