"""A ring against a model, and every state in which a killed writer can leave it."""

from __future__ import annotations

from collections import deque
from operator import length_hint

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shmperf.shm.record import SLOT, SLOT_BYTES, meta_of, seal
from shmperf.shm.ring import Grant, RingReader, RingWriter, ring_bytes

OFFSET = 512
GUARD = 1024


class Ring:
    """Writer and reader of one ring in a bytearray."""

    def __init__(self, slots: int, *, sealed: bool = False) -> None:
        self.memory = memoryview(bytearray(OFFSET + ring_bytes(slots) + GUARD))
        self.words = self.memory.cast("Q")
        self.memory[:OFFSET] = b"\xa5" * OFFSET
        self.memory[-GUARD:] = b"\xa5" * GUARD
        self.slots = slots
        self.size = self.granted = slots * SLOT_BYTES
        self.sealed = sealed
        self.writer = RingWriter(self.words, OFFSET, slots)
        self.grant = Grant(iter(()), 0)
        self.reader = self.attach()

    def attach(self, position: int = 0) -> RingReader:
        return RingReader(
            (self.memory, self.words), OFFSET, self.slots, position=position, sealed=self.sealed
        )

    def take(self, *, refill: bool = True) -> int | None:
        while True:
            for position in self.grant.positions:
                return position
            grant = self.writer.grant() if refill else None
            if grant is None:
                return None
            self.granted += length_hint(grant.positions) * SLOT_BYTES
            self.grant = grant

    def store(self, position: int, call_id: int, shift: int | None = None) -> None:
        meta = meta_of(1, 0, 2)
        if self.sealed:
            meta = seal((call_id, 0, 1, 2), meta, b"ab")
        at = position + (self.grant.shift if shift is None else shift)
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
        self.guard = bytes(self.ring.memory[:OFFSET]), bytes(self.ring.memory[-GUARD:])
        # Positions in the order in which they were taken, and what lies there.
        self.waiting: deque[tuple[int, int, int]] = deque()
        self.states: dict[int, str] = {}
        self.unreleased = 0
        self.begun = self.lost = self.read = 0
        self.is_retired = False

    def take(self) -> int | None:
        self.begun += 1
        position = self.ring.take(refill=not self.is_retired)
        if position is None:
            self.lost += 1
            if not self.is_retired:
                assert len(self.waiting) + self.unreleased == self.ring.slots
            return None
        self.waiting.append((position, self.ring.grant.shift, self.begun))
        return position

    @rule()
    def write(self) -> None:
        position = self.take()
        if position is not None:
            self.ring.store(position, self.begun)
            self.states[position] = "stored"

    @rule(cut=st.integers(0, 256), cleared=st.booleans())
    def be_struck_while_storing(self, cut: int, cleared: bool) -> None:
        position = self.take()
        if position is None:
            return
        at = position + self.ring.grant.shift
        old = bytes(self.ring.memory[at : at + SLOT_BYTES])
        self.ring.store(position, self.begun)
        new = bytes(self.ring.memory[at : at + SLOT_BYTES])
        cut = min(cut, SLOT_BYTES - 8) if cleared else cut
        image = new[:cut] + bytes(SLOT_BYTES - cut) if cleared else bytes(cut) + old[cut:]
        self.ring.memory[at : at + SLOT_BYTES] = image
        self.states[position] = "hole"

    @rule(number=st.integers(0, 15))
    def store_what_was_taken_before(self, number: int) -> None:
        holes = [found for found in self.waiting if self.states[found[0]] == "hole"]
        if holes:
            position, shift, call_id = holes[number % len(holes)]
            self.ring.store(position, call_id, shift)
            self.states[position] = "stored"

    @rule(number=st.integers(0, 15), at=st.integers(0, 41), bit=st.integers(0, 7))
    def show_an_old_payload(self, number: int, at: int, bit: int) -> None:
        stored = [found for found in self.waiting if self.states[found[0]] == "stored"]
        if self.ring.sealed and stored:
            position, shift, _ = stored[number % len(stored)]
            self.ring.memory[position + shift + at] ^= 1 << bit
            self.states[position] = "damaged"

    @rule()
    def show_the_new_payload(self) -> None:
        for position, shift, call_id in self.waiting:
            if self.states[position] == "damaged":
                self.ring.store(position, call_id, shift)
                self.states[position] = "stored"

    @rule(most=st.integers(1, 20))
    def drain(self, most: int) -> None:
        found = [slot[0] for slot in self.ring.reader.read(most)]
        assert len(found) <= most
        assert bool(found) == bool(self.waiting and self.states[self.waiting[0][0]] == "stored")
        for call_id in found:
            position, _, expected = self.waiting.popleft()
            assert (call_id, self.states.pop(position)) == (expected, "stored")
        self.read += len(found)
        self.unreleased += len(found)

    @rule()
    def release(self) -> None:
        self.ring.release()
        self.unreleased = 0

    @rule()
    def attach_anew(self) -> None:
        self.ring.reader = self.ring.attach(self.ring.reader.position)

    @rule(head=st.integers(1, (1 << 64) - 1))
    def damage_the_head(self, head: int) -> None:
        true_head = self.ring.words[OFFSET // 8]
        assume(not (true_head or self.ring.size) <= head <= self.ring.granted)
        assume(head < self.ring.granted - self.ring.size or head > self.ring.granted)
        self.ring.words[OFFSET // 8] = head
        assert self.ring.writer.grant() is None
        self.ring.words[OFFSET // 8] = true_head

    @precondition(lambda self: not self.is_retired)
    @rule()
    def retire(self) -> None:
        self.ring.writer.retire()
        self.is_retired = True

    @invariant()
    def books_balance(self) -> None:
        if not hasattr(self, "ring"):
            return
        assert self.begun == self.read + self.lost + len(self.waiting)
        committed = [self.states[position] != "hole" for position, _, _ in self.waiting]
        assert self.ring.reader.has_record() == any(committed[:1])
        assert self.ring.reader.is_past_hole() == any(committed[1:])
        everything = self.ring.reader.position >= self.ring.granted
        assert self.ring.reader.retired == (self.is_retired and everything)
        assert self.guard == (bytes(self.ring.memory[:OFFSET]), bytes(self.ring.memory[-GUARD:]))

    def teardown(self) -> None:
        """The writer is dead: its holes are passed, and every record behind them is read."""
        if not hasattr(self, "ring"):
            return
        self.show_the_new_payload()
        aborted = 0
        while self.waiting:
            if self.states[self.waiting[0][0]] == "stored":
                self.drain(20)
            elif self.ring.reader.is_past_hole():
                self.ring.reader.advance(1)
                self.waiting.popleft()
                aborted += 1
            else:
                break
        assert all(self.states[position] == "hole" for position, _, _ in self.waiting)
        assert self.begun == self.read + self.lost + aborted + len(self.waiting)


TestRingModel = RingModel.TestCase
TestRingModel.settings = settings(max_examples=60, stateful_step_count=60)


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


def test_writer_finds_what_a_failed_store_has_left() -> None:
    """Each hole among the positions taken is handed out once, in order, in any lap."""
    ring = Ring(8)
    for call_id in range(5):
        ring.write(call_id)
    assert ring.read() == [0, 1, 2, 3, 4]
    ring.release()
    holes = []
    for call_id in range(5, 12):
        if call_id in (6, 9):
            holes.append(ring.take())
        else:
            ring.write(call_id)
    found = []
    while (spare := ring.writer.spare()) is not None:
        assert ring.writer.may_have_hole
        assert ring.writer.spare() is spare
        for position in spare.positions:
            found.append(position)
            ring.store(position, 100 + len(found), spare.shift)
    assert found == holes
    assert not ring.writer.may_have_hole
    assert ring.read() + ring.read() == [5, 101, 7, 8, 102, 10, 11]


def test_store_that_fails_again_leaves_its_hole_to_the_next_one() -> None:
    """A hole that was handed out and not filled is found once more; a head is not believed."""
    ring = Ring(8)
    lost = ring.take()
    ring.write(1)
    for _ in range(2):
        spare = ring.writer.spare()
        assert spare is not None
        assert list(spare.positions) == [lost]
    ring.words[OFFSET // 8] = 1 << 63
    assert ring.writer.spare() is None


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
        assert not ring.attach().read()


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


def test_ring_is_pressed_when_more_than_half_is_out() -> None:
    """Granted by halves, the second one without a release is what should be noticed."""
    ring = Ring(16)
    ring.writer.in_halves = True
    for call_id in range(8):
        ring.write(call_id)
    assert not ring.writer.is_pressed
    ring.write(8)
    assert ring.writer.is_pressed
    ring.read()
    ring.release()
    assert not ring.writer.is_pressed


@pytest.mark.parametrize(("slots", "granted"), [(16, 16), (256, 256), (1024, 512)])
def test_small_rings_are_granted_whole(slots: int, granted: int) -> None:
    """A small ring needs no warning, for a larger one comes: half the refills; a large one does."""
    grant = Ring(slots).writer.grant()
    assert grant is not None
    assert len(list(grant.positions)) == granted


LAPS = pytest.mark.parametrize("laps", [0, 1, 3])


def after_laps(laps: int, *, sealed: bool = False) -> Ring:
    ring = Ring(4, sealed=sealed)
    for call_id in range(4 * laps + 1):
        assert ring.write(call_id)
        assert ring.read() == [call_id]
        ring.release()
    return ring


@LAPS
def test_killed_before_anything_was_taken_loses_nothing(laps: int) -> None:
    """First row of the crash table: the reader finds what was stored before, and then nothing."""
    ring = after_laps(laps)
    ring.write(77)
    ring.writer.grant()
    assert ring.read() == [77]
    assert ring.read() == []
    assert not ring.reader.is_past_hole()


@LAPS
@pytest.mark.parametrize("sealed", [False, True])
def test_killed_while_storing_leaves_a_hole(laps: int, sealed: bool) -> None:
    """Second row: every mix of the old lap's bytes, zeros and the new ones is no record."""
    ring = after_laps(laps, sealed=sealed)
    position = ring.take()
    assert position is not None
    at = position + ring.grant.shift
    old = bytes(ring.memory[at : at + SLOT_BYTES])
    ring.store(position, 5)
    new = bytes(ring.memory[at : at + SLOT_BYTES])
    images = [old]
    images += [bytes(cut) + old[cut:] for cut in range(SLOT_BYTES + 1)]
    images += [new[:cut] + bytes(SLOT_BYTES - cut) for cut in range(SLOT_BYTES - 8 + 1)]
    images += [new[:cut] + old[cut:] for cut in range(SLOT_BYTES - 8 + 1)]
    for image in images:
        ring.memory[at : at + SLOT_BYTES] = image
        reader = ring.attach(position)
        assert not reader.has_record()
        assert not reader.read()
        assert not reader.is_past_hole()
    ring.write(6)
    reader = ring.attach(position)
    assert not reader.read()
    assert reader.is_past_hole()
    reader.advance(1)
    assert [slot[0] for slot in reader.read()] == [6]


@LAPS
def test_killed_after_storing_leaves_the_record(laps: int) -> None:
    """Third row: a stored record is read by whoever attaches, once."""
    ring = after_laps(laps)
    ring.write(5)
    reader = ring.attach()
    assert [slot[0] for slot in reader.read()] == [5]
    assert not reader.read()
    reader.release(reader.position)
    assert not ring.attach().read()


@given(st.integers(0, 1 << 40), st.integers(1, 1 << 20), st.integers(0, 8))
def test_no_mix_of_an_old_position_and_zeros_is_a_later_position(
    start: int, ahead: int, cut: int
) -> None:
    """Clearing a slot byte by byte never makes an old record a new one."""
    old = (start + 1) * SLOT_BYTES
    expected = old + ahead * SLOT_BYTES
    raw = old.to_bytes(8, "little")
    for image in (bytes(cut) + raw[cut:], raw[:cut] + bytes(8 - cut)):
        assert int.from_bytes(image, "little") != expected


def test_sealed_record_behind_a_damaged_one_waits_for_it() -> None:
    """Where a checksum is wrong the reader stops: order is kept and nothing is skipped."""
    ring = Ring(8, sealed=True)
    for call_id in (1, 2, 3):
        ring.write(call_id)
    second = OFFSET + 256 + SLOT_BYTES
    ring.memory[second + 41] ^= 0x10
    assert ring.read() == [1]
    assert ring.read() == []
    assert ring.reader.has_record()
    ring.memory[second + 41] ^= 0x10
    assert ring.read() == [2, 3]


def test_full_ring_grants_nothing_until_something_is_released() -> None:
    """What was read and not released is not written over."""
    ring = Ring(4)
    assert [ring.write(call_id) for call_id in range(5)] == [True] * 4 + [False]
    assert ring.read() == [0, 1, 2, 3]
    assert not ring.write(9)
    ring.reader.release(ring.size + 2 * SLOT_BYTES)
    assert [ring.write(call_id) for call_id in (4, 5, 6)] == [True, True, False]
    assert ring.read() == [4, 5]


def test_slots_read_and_moved_back_are_read_again() -> None:
    """A reader may leave a record for later, as long as it has not released it."""
    ring = Ring(8)
    for call_id in (1, 2, 3):
        ring.write(call_id)
    assert ring.read() == [1, 2, 3]
    ring.reader.advance(-2)
    assert ring.reader.unreleased == SLOT_BYTES
    assert ring.read() == [2, 3]


def test_new_reader_begins_where_the_former_one_stopped() -> None:
    """What a former reader took and did not release is not read twice."""
    ring = Ring(8)
    for call_id in (1, 2, 3):
        ring.write(call_id)
    assert [slot[0] for slot in ring.reader.read(2)] == [1, 2]
    ring.reader = ring.attach(ring.reader.position)
    assert ring.reader.unreleased == 2 * SLOT_BYTES
    assert ring.read() == [3]


@pytest.mark.parametrize("off", [1, 3, 128, 255])
@pytest.mark.parametrize("slots_back", [4, 3, 1])
def test_head_between_two_slots_is_not_believed(slots_back: int, off: int) -> None:
    """A head that is no slot's position grants nothing: no record and no neighbour is hit."""
    ring = Ring(4)
    for call_id in range(4):
        ring.write(call_id)
    ring.words[OFFSET // 8] = ring.granted - slots_back * SLOT_BYTES + off
    assert ring.writer.grant() is None


@settings(max_examples=300)
@given(
    head=st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 4096).map(lambda n: 2**64 - 1 - n)),
    retired=st.integers(0, 2**64 - 1),
    position=st.one_of(st.just(0), st.integers(0, 2**63)),
    committed=st.integers(0, 4),
    sealed=st.booleans(),
)
@example(head=2**64 - 256, retired=0, position=0, committed=1, sealed=False)
@example(head=2**64 - 1, retired=1, position=0, committed=4, sealed=False)
def test_reader_stays_inside_whatever_stands_there(
    head: int, retired: int, position: int, committed: int, sealed: bool
) -> None:
    """Any words in a ring are read without an error, and nothing but its head is written."""
    ring = Ring(4, sealed=sealed)
    ring.words[OFFSET // 8] = head
    ring.words[OFFSET // 8 + 16] = retired
    reader = ring.attach(position)
    for number in range(committed):
        expected = reader.position + number * SLOT_BYTES
        at = OFFSET + 256 + expected % ring.size
        if expected < 1 << 64:
            SLOT.pack_into(ring.memory, at, 1, 2, 3, 4, 5, b"", expected)
    image = bytes(ring.memory)
    reader.has_record()
    assert len(reader.read()) <= 4
    reader.is_past_hole()
    assert reader.retired in {True, False}
    assert reader.unreleased >= 0
    reader.release(reader.position)
    now = bytearray(ring.memory)
    now[OFFSET : OFFSET + 8] = image[OFFSET : OFFSET + 8]
    assert bytes(now) == image


@given(
    count=st.integers(0, 12),
    release=st.integers(0, 12),
    limit=st.integers(-1, 14),
    sealed=st.booleans(),
)
def test_columns_and_slots_of_a_batch_agree(
    count: int, release: int, limit: int, sealed: bool
) -> None:
    """The newest of a batch are its last, whole; all of them for -1, none for 0."""
    ring = Ring(16, sealed=sealed)
    for call_id in range(release):
        ring.write(call_id)
    ring.read()
    ring.release()
    for call_id in range(count):
        ring.write(100 + call_id)
    batch = ring.reader.read()
    slots = list(batch)
    columns = batch.ids, batch.parents, batch.starts, batch.ends, batch.metas
    assert list(zip(*columns, strict=True)) == [slot[:5] for slot in slots]
    assert list(batch.ids) == list(range(100, 100 + count))[: len(batch)]
    assert batch.newest(limit) == (slots if limit < 0 else slots[::-1][:limit][::-1])
    assert all(slot[5].startswith(b"ab") for slot in slots)
