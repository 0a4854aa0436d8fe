"""A worker's memory: found by name, bounded, the user's alone, and never believed by its reader."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.errors import FormatError, SegmentGone
from shmperf.memory import SHARED_MEMORY, read_blob, remove_memory
from shmperf.record import SLOT, Callee, meta_of
from shmperf.segment import SHARED, Fault, Kind, Loss, Segment, SegmentReader

from .support import PYTHON

BUDGET = 1 << 20


@pytest.fixture
def name() -> Iterator[str]:
    found = f"shmperf-{secrets.token_hex(6)}"
    yield found
    remove_memory(found, None)


def test_what_a_worker_publishes_its_reader_finds(name: str) -> None:
    """Names, rows and rings are read as they were written."""
    segment = Segment(name, budget_bytes=BUDGET, pid=42)
    callee = Callee("tööl", ("a",), "rest")
    assert segment.add_callee(7, callee)
    assert segment.add_rows(9)
    ring = segment.add_ring(7, 16)
    shared = segment.add_shared_ring()
    assert ring is not None
    assert shared is not None
    reader = SegmentReader(name)
    extents = reader.new_extents()
    assert [extent.kind for extent in extents] == [Kind.CALLEE, Kind.ROWS, Kind.RING, Kind.RING]
    assert reader.callee(extents[0]) == callee
    assert reader.rows(extents[1]).block == 9
    assert extents[3].key == SHARED
    grant = ring.grant()
    assert grant is not None
    position = next(grant.positions)
    at = position + grant.shift
    SLOT.pack_into(segment.buffer, at, 1, 2, 3, 4, meta_of(7), b"", position)
    (slot,) = reader.ring(extents[2]).read()
    assert slot[:4] == (1, 2, 3, 4)
    assert reader.pid == 42
    assert reader.new_extents() == []
    segment.count_loss(Loss.RING_FULL)
    segment.count_fault(Fault.REPR_FAILED)
    assert reader.losses() == {"ring_full": 1}
    assert reader.faults() == {"repr_failed": 1}
    reader.close()


def test_budget_is_kept_whatever_is_asked(name: str) -> None:
    """Memory really used never exceeds the budget; what does not fit is refused."""
    segment = Segment(name, budget_bytes=BUDGET)
    rings = [segment.add_ring(1, 64) for _ in range(200)]
    assert rings[0] is not None
    assert rings[-1] is None
    assert not segment.add_callee(2, Callee("x" * BUDGET))
    assert (SHARED_MEMORY / name).stat().st_blocks * 512 <= BUDGET
    assert segment.used_bytes <= BUDGET


def test_memory_is_the_users_alone(name: str) -> None:
    """Segments are created exclusively with mode 0600, and others are refused."""
    Segment(name, budget_bytes=BUDGET)
    path = SHARED_MEMORY / name
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        Segment(name, budget_bytes=BUDGET)
    path.chmod(0o644)
    with pytest.raises(FormatError, match="0600"):
        SegmentReader(name)
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b"x" * 100, os.urandom(3 << 20), bytes(3 << 20)])
def test_foreign_memory_is_refused_and_left_alone(name: str, content: bytes) -> None:
    """What is no segment is a FormatError, and the attach does not unlink it."""
    path = SHARED_MEMORY / name
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(FormatError):
        SegmentReader(name)
    assert path.exists()


def test_missing_memory_is_gone(name: str, tmp_path: Path) -> None:
    """A name without memory is SegmentGone, with a fallback directory too."""
    for fallback in (None, tmp_path):
        with pytest.raises(SegmentGone):
            SegmentReader(name, fallback=fallback)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=4, max_size=32), st.integers(0, 1 << 20))
def test_damaged_directory_is_refused_and_counted(words: list[int], count: int) -> None:
    """Entries that point outside, or of no kind, are counted; nothing is read beyond the memory."""
    name = f"shmperf-{secrets.token_hex(6)}"
    try:
        segment = Segment(name, budget_bytes=BUDGET)
        segment.add_callee(1, Callee("tool"))
        for at, word in enumerate(words):
            segment.words[512 + at] = word
        segment.words[6] = count
        reader = SegmentReader(name)
        extents = reader.new_extents()
        assert len(extents) + reader.refused <= max(count, 1)
        for extent in extents:
            if extent.kind == Kind.CALLEE:
                reader.callee(extent)
        reader.close()
    finally:
        remove_memory(name, None)


def test_blob_is_read_by_its_owner_name_alone(name: str) -> None:
    """A blob comes back whole; a name that is not one of the worker's is refused."""
    segment = Segment(name, budget_bytes=BUDGET)
    content = os.urandom(300_000)
    blob = segment.add_blob(content)
    assert blob is not None
    assert read_blob(blob, name, 1 << 20)[: len(content)] == content
    for wrong in ("../../etc/passwd", f"{name}x.1", name, f"{name}.zz", "shmperf-other.1"):
        with pytest.raises(FormatError):
            read_blob(wrong, name, 1 << 20)
    with pytest.raises(FormatError):
        read_blob(blob, name, 1000)
    remove_memory(name, None)
    assert not (SHARED_MEMORY / blob).exists()


def test_segment_survives_its_process_without_a_word(name: str) -> None:
    """The resource tracker neither unlinks undrained memory nor complains about it."""
    code = (
        "import sys; from shmperf.segment import Segment\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        f"segment = Segment({name!r}, budget_bytes={BUDGET})\n"
        "other = SharedMemory(create=True, size=10); other.close(); other.unlink()\n"
    )
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    reader = SegmentReader(name)
    reader.close()
    assert (SHARED_MEMORY / name).exists()
