"""Tools without a name: shown in the header, whatever memory there is, and never believed."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator

import pytest

from shmperf.shm.beyond import beyond_name
from shmperf.shm.memory import remove_memory
from shmperf.shm.record import SLOT_BYTES, Callee
from shmperf.shm.segment import Kind, Segment, SegmentReader
from shmperf.stdlib import os

BUDGET = 1 << 18
SHOWN = 97
CELLS = 128


@pytest.fixture
def name() -> Iterator[str]:
    found = f"shmperf-{secrets.token_hex(6)}"
    yield found
    remove_memory(found, None)


def test_names_have_memory_of_their_own(name: str) -> None:
    """A worker whose rings fill its budget still names twenty thousand tools, with a slot each."""
    segment = Segment(name, budget_bytes=BUDGET)
    while segment.add_ring(1, 16):
        pass
    for number in range(1, 1_001):
        assert segment.add_callee(number, Callee(f"a tool with a name {number}", ("query", "n")))
    assert segment.add_ring(1, 16) is None
    assert segment.used_bytes <= BUDGET
    for number in range(1_001, 20_001):
        assert segment.add_callee(number, Callee(f"a tool with a name {number}", ("query", "n")))
    slots = 0
    while segment.add_ring(1, 256):
        slots += 256
    assert 18_000 < slots < 19_000
    assert segment.used_bytes <= BUDGET + 19_000 * SLOT_BYTES
    reader = SegmentReader(name)
    named = [extent for extent in reader.new_extents() if extent.kind == Kind.CALLEE]
    assert len(named) == 20_000
    last = reader.callee(named[-1])
    assert last is not None
    assert last.tool == "a tool with a name 20000"
    assert reader.refused == 0
    reader.close()


def test_names_leave_the_directory_room_for_rings(name: str) -> None:
    """However many names are published, rows and rings can be added behind them."""
    segment = Segment(name, budget_bytes=BUDGET)
    published = 0
    while segment.add_callee(1, Callee("t")):
        published += 1
    assert published == 50_000
    assert segment.add_rows(1)
    assert segment.add_ring(1, 16)


def test_the_first_without_a_name_are_shown_where_no_memory_is_left(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers see how many tools have names and which are the first that have none."""
    segment = Segment(name, budget_bytes=BUDGET)
    assert segment.add_callee(1, Callee("named"))
    reader = SegmentReader(name)
    assert reader.beyond() is None

    def refuse(*_arguments: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert not segment.add_callee(2, Callee("x" * 8192))
    tools = ["ü" * 500, *(f"job {n}" for n in range(30))]
    assert [segment.add_nameless(tool) for tool in tools] == [True] + [False] * 30
    found = reader.beyond()
    assert found is not None
    assert found.tool == "tools beyond 1"
    assert found.first == ("ü" * 60, *(f"job {n}" for n in range(9)))
    assert reader.faults() == {"no_name": 31}
    reader.close()


def test_workers_that_differ_by_a_few_names_share_one_tool() -> None:
    """The number of names is rounded down to one digit."""
    assert {beyond_name(n) for n in range(20_000, 29_999, 7)} == {"tools beyond 20000"}
    assert beyond_name(9) == "tools beyond 9"
    assert beyond_name(0) == "tools beyond 0"


def test_noise_in_the_header_is_bounded(name: str) -> None:
    """Whatever a broken worker writes there, ten short texts are the most that is read."""
    segment = Segment(name, budget_bytes=BUDGET)
    segment.words[SHOWN - 1] = segment.words[SHOWN] = 2**64 - 1
    noise = secrets.token_bytes(10 * 128)
    segment.buffer[CELLS * 8 : CELLS * 8 + len(noise)] = noise
    found = SegmentReader(name).beyond()
    assert found is not None
    assert found.tool == "tools beyond 1000000"
    assert len(found.first) == 10
    assert max(map(len, found.first)) <= 120


def test_a_ring_that_no_reader_believes_is_not_made(name: str) -> None:
    """However large the budget is, rings have a largest size."""
    segment = Segment(name, budget_bytes=1 << 28)
    assert segment.add_ring(1, 1 << 17) is None
    assert segment.add_ring(1, 1 << 16)
    reader = SegmentReader(name)
    assert len(reader.new_extents()) == 1
    assert reader.refused == 0
    reader.close()
