"""Machines that may show stores out of order: what is chosen for them, and that it is as good."""

from __future__ import annotations

import pickle
import random
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.compiled.chosen import hot, why_not
from shmperf.shm import ring as rings
from shmperf.shm import segment as segments
from shmperf.shm.fence import needs_seal, published
from shmperf.shm.memory import PREFIX, remove_memory
from shmperf.shm.record import BODY_BYTES, SLOT, SLOT_BYTES, meta_of
from shmperf.shm.ring import RingReader, ring_bytes
from shmperf.shm.segment import Segment, SegmentReader
from shmperf.worker import byvalue

COMPILED = pytest.mark.skipif(hot is None, reason=f"no compiled path: {why_not}")
WORDS = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, 1 << 63, (1 << 64) - 1]))
SLOTS = 4
FIRST = 256


@pytest.mark.parametrize(
    ("machine", "by_c", "sealed", "released"),
    [
        ("x86_64", True, False, False),
        ("x86_64", False, False, False),
        ("i686", False, False, False),
        ("aarch64", True, False, True),
        ("aarch64", False, True, False),
        ("riscv64", True, False, True),
        ("riscv64", False, True, False),
    ],
)
@COMPILED
def test_c_stands_in_for_the_checksum(
    machine: str, by_c: bool, sealed: bool, released: bool
) -> None:
    """A checksum only where neither the machine keeps stores in order nor C asks it to."""
    compiled = hot if by_c else None
    assert needs_seal(machine, compiled) is sealed
    assert (published(machine, compiled) is not SLOT) is released


@COMPILED
@given(
    words=st.tuples(WORDS, WORDS, WORDS, WORDS),
    callee=st.integers(0, (1 << 16) - 1),
    body=st.binary(max_size=BODY_BYTES),
    position=WORDS,
    slot=st.integers(0, SLOTS - 1),
    seed=st.integers(0, 1 << 30),
)
def test_c_stores_the_bytes_that_python_packs(
    words: Any, callee: int, body: bytes, position: int, slot: int, seed: int
) -> None:
    """All of a slot and nothing beside it, whatever was there before."""
    before = random.Random(seed).randbytes(SLOTS * SLOT_BYTES)  # noqa: S311  no secret
    ours, theirs = bytearray(before), bytearray(before)
    given = (*words, meta_of(callee, 0, len(body)), body, position)
    SLOT.pack_into(ours, slot * SLOT_BYTES, *given)
    hot.Slot().pack_into(memoryview(theirs), slot * SLOT_BYTES, *given)
    assert theirs == ours


@COMPILED
@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((0, at) for at in (-8, -SLOT_BYTES, SLOT_BYTES + 8, 1 << 62, 1 << 64, 4, 1.0)),
        *((word, value) for word in (1, 2, 3, 4, 7) for value in (-1, 1 << 64, 1.0, None)),
        *((6, value) for value in (b"a", b"abc", bytes(BODY_BYTES + 1), "ab", bytearray(b"ab"))),
        (5, meta_of(1, 0, BODY_BYTES + 1)),
    ],
)
def test_what_is_no_slot_is_refused(place: int, value: object) -> None:
    """Neither stored in part nor outside the buffer."""
    memory = bytearray(2 * SLOT_BYTES)
    arguments: list[Any] = [SLOT_BYTES, 1, 2, 3, 4, meta_of(1, 0, 2), b"ab", 512]
    hot.Slot().pack_into(memory, *arguments)
    before = bytes(memory)
    arguments[place] = value
    with pytest.raises((TypeError, ValueError, OverflowError)):
        hot.Slot().pack_into(memory, *arguments)
    with pytest.raises(TypeError):
        hot.Slot().pack_into(memory, *arguments[:-1])
    assert memory == before


@COMPILED
def test_memory_that_is_not_to_be_written_is_refused() -> None:
    """As `pack_into` refuses it: nothing is kept of what was passed."""
    rest = (0, 1, 2, 3, 4, meta_of(1), b"", 256)
    view = memoryview(bytearray(SLOT_BYTES))
    view.release()
    with pytest.raises(ValueError, match="released"):
        hot.Slot().pack_into(view, *rest)
    with pytest.raises(BufferError):
        hot.Slot().pack_into(bytes(SLOT_BYTES), *rest)


@COMPILED
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_wrapper_that_is_sent_stores_as_its_receiver_does(
    monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    """Whatever its sender stores with: the segment is the receiver's."""
    sent = pickle.dumps(byvalue.PUBLISHED.pack_into)
    theirs = published(machine, hot)
    monkeypatch.setattr(byvalue, "PUBLISHED", theirs)
    assert pickle.loads(sent).__self__ is theirs  # noqa: S301  our own


@pytest.mark.parametrize("count", [1, 40])
def test_what_a_position_has_released_is_read_behind_a_fence(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Python that looks at another's stores takes the payload as it is once that is visible."""
    memory = memoryview(bytearray(ring_bytes(64)))
    words = memory.cast("Q")
    size = 64 * SLOT_BYTES

    def store(call_id: int) -> None:
        for number in range(count):
            at = number * SLOT_BYTES
            SLOT.pack_into(memory, FIRST + at, call_id, 0, 1, 2, meta_of(1), b"", size + at)

    store(1)
    monkeypatch.setattr(rings, "hot", None)
    monkeypatch.setattr(rings, "REORDERS", True)
    monkeypatch.setattr(rings, "fence", lambda: store(2))
    batch = RingReader((memory, words), 0, 64).read()
    assert list(batch.ids) == [2] * count


def test_entries_are_read_behind_a_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory's count is seen first: an entry that is none would never be looked at again."""
    name = f"{PREFIX}{secrets.token_hex(8)}"
    segment, order = Segment(name, budget_bytes=1 << 20), []
    try:
        reader = SegmentReader(name)
        monkeypatch.setattr(segments, "REORDERS", True)
        monkeypatch.setattr(segments, "fence", lambda: order.append(reader.has_new_extents()))
        segment.add_ring(1, 4)
        assert [extent.size for extent in reader.new_extents()] == [4]
        # Behind the writer's fence alone the entry is counted, ahead of the reader's it was.
        assert order == [False, True]
        reader.close()
        segment.close()
    finally:
        remove_memory(name, None)
