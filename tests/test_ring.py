"""A ring against a model, and every state in which a killed writer can leave it."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shmperf.record import SLOT, meta_of, seal
from shmperf.ring import Grant, RingReader, RingWriter, ring_bytes

OFFSET = 512


class Ring:
    """Writer and reader of one ring in a bytearray."""

    def __init__(self, slots: int, *, sealed: bool = False) -> None:
        self.memory = memoryview(bytearray(OFFSET + ring_bytes(slots)))
        self.words = self.memory.cast("Q")
        self.slots = slots
        self.sealed = sealed
        self.writer = RingWriter(self.words, OFFSET, slots)
        self.grant = Grant(iter(()), 0)
        self.reader = self.attach()

    def attach(self, position: int = 0) -> RingReader:
        return RingReader(
            (self.memory, self.words), OFFSET, self.slots, position=position, sealed=self.sealed
        )

    def take(self) -> int | None:
        while True:
            for position in self.grant.positions:
                return position
            grant = self.writer.grant()
            if grant is None:
                return None
            self.grant = grant

    def store(self, position: int, call_id: int) -> None:
        meta = meta_of(1, 0, 2)
        if self.sealed:
            meta = seal((call_id, 0, 1, 2), meta, b"ab")
        at = position + self.grant.shift
        SLOT.pack_into(self.memory, at, call_id, 0, 1, 2, meta, b"ab", position)

    def write(self, call_id: int) -> bool:
        position = self.take()
        if position is None:
            return False
        self.store(position, call_id)
        return True

    def read(self) -> list[int]:
        return [slot[0] for slot in self.reader.read()]

    def release(self) -> None:
        self.reader.release(self.reader.position)


class RingModel(RuleBasedStateMachine):
    """Whatever the order: each record is read once, in order, and none before it is released."""

    @initialize(slots=st.sampled_from([4, 8, 16]), sealed=st.booleans())
    def begin(self, slots: int, sealed: bool) -> None:
        self.ring = Ring(slots, sealed=sealed)
        self.waiting: deque[int] = deque()
        self.unreleased = 0
        self.begun = self.lost = self.read = 0

    @rule()
    def write(self) -> None:
        self.begun += 1
        if self.ring.write(self.begun):
            self.waiting.append(self.begun)
        else:
            self.lost += 1
            assert len(self.waiting) + self.unreleased == self.ring.slots

    @rule(most=st.integers(1, 20))
    def drain(self, most: int) -> None:
        found = [slot[0] for slot in self.ring.reader.read(most)]
        assert found == [self.waiting.popleft() for _ in found]
        self.read += len(found)
        self.unreleased += len(found)

    @rule()
    def release(self) -> None:
        self.ring.release()
        self.unreleased = 0

    @rule()
    def attach_anew(self) -> None:
        self.ring.reader = self.ring.attach(self.ring.reader.position)

    @invariant()
    def books_balance(self) -> None:
        if hasattr(self, "ring"):
            assert self.begun == self.read + self.lost + len(self.waiting)
            assert self.ring.reader.has_record() == bool(self.waiting)


TestRingModel = RingModel.TestCase
TestRingModel.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_fresh_memory_holds_no_record() -> None:
    """Zeros match no position."""
    ring = Ring(4)
    assert not ring.reader.has_record()
    assert ring.read() == []


def test_stale_lap_is_never_read() -> None:
    """A slot of the lap before is no record of this one."""
    ring = Ring(4)
    for call_id in range(4):
        ring.write(call_id)
    assert ring.read() == [0, 1, 2, 3]
    ring.release()
    assert ring.read() == []


@pytest.mark.parametrize("committed", [0, 2])
def test_hole_of_a_living_writer_stops_the_reader(committed: int) -> None:
    """A position taken and never stored is not passed while its writer may live."""
    ring = Ring(8)
    for call_id in range(committed):
        ring.write(call_id)
    ring.take()
    ring.write(99)
    assert ring.read() == list(range(committed))
    assert ring.read() == []
    assert ring.reader.is_past_hole()
    ring.reader.advance(1)
    assert ring.read() == [99]


def test_partly_stored_slot_is_not_visible() -> None:
    """A writer killed before its last word leaves what no reader takes for a record."""
    ring = Ring(4)
    position = ring.take()
    assert position is not None
    ring.store(position, 5)
    image = bytes(ring.memory)
    at = position + ring.grant.shift
    for cut in range(0, 248, 8):
        ring.memory[:] = image
        ring.memory[at + cut : at + 256] = bytes(256 - cut)
        assert ring.attach().read() == []


def test_sealed_slot_with_old_payload_is_looked_at_again() -> None:
    """Where stores may be seen out of order, a wrong checksum means not visible yet."""
    ring = Ring(4, sealed=True)
    ring.write(5)
    before = bytes(ring.memory[OFFSET + 256 : OFFSET + 264])
    ring.memory[OFFSET + 256] ^= 1
    assert ring.read() == []
    ring.memory[OFFSET + 256 : OFFSET + 264] = before
    assert ring.read() == [5]


@pytest.mark.parametrize("head", [1 << 63, 3, 100 * 256])
def test_damaged_head_is_not_believed(head: int) -> None:
    """A head outside what was granted gives no grant."""
    ring = Ring(4)
    for call_id in range(4):
        ring.write(call_id)
    ring.words[OFFSET // 8] = head
    assert ring.writer.grant() is None


def test_retired_ring_ends_where_its_grants_end() -> None:
    """A ring that was left is done once everything granted in it has been read."""
    ring = Ring(4)
    ring.write(1)
    for call_id in (2, 3, 4):
        ring.write(call_id)
    ring.writer.retire()
    assert not ring.reader.retired
    assert ring.read() == [1, 2, 3, 4]
    assert ring.reader.retired


def test_grant_is_shared_by_whoever_takes_from_it() -> None:
    """Two takers of one grant never get the same position."""
    ring = Ring(16)
    grant = ring.writer.grant()
    assert grant is not None
    positions = [next(grant.positions) for _ in range(16)]
    assert len(set(positions)) == 16
    assert next(grant.positions, None) is None
