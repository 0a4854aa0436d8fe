"""Both readers of a ring, on the same bytes: what C reads and counts is what Python does."""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.analysis.totals import Totals
from shmperf.collector.lanes import Lane, Lanes
from shmperf.compiled.chosen import hot, why_not
from shmperf.shm import ring as rings
from shmperf.shm import rowtable
from shmperf.shm.record import SLOT, SLOT_BYTES
from shmperf.shm.ring import Batch, Marks, RingReader, ring_bytes
from shmperf.shm.rowtable import RowTable

pytestmark = pytest.mark.skipif(hot is None, reason=f"no compiled path: {why_not}")

_MOST = (1 << 64) - 1
_WORDS = st.one_of(
    st.integers(0, _MOST),
    st.integers(0, 300),
    st.sampled_from([0, 1, 1 << 32, 1 << 62, (1 << 62) + 1, 1 << 63, _MOST]),
    st.integers(0, 40).map(lambda n: 5 << 32 | n << 6 | n % 3),
)


def _memory(slots: int, seed: int) -> tuple[memoryview, memoryview]:
    noise = random.Random(seed).randbytes(ring_bytes(slots))  # noqa: S311  no secret
    memory = memoryview(bytearray(noise))
    memory[:256] = bytes(256)
    return memory, memory.cast("Q")


@st.composite
def _rings(draw: st.DrawFn) -> tuple[tuple[memoryview, memoryview], int, int]:
    """A ring in which any slots are committed, and where its reader stands."""
    slots = 1 << draw(st.integers(2, 7))
    memory = _memory(slots, draw(st.integers(0, 1 << 30)))
    lap, begin = draw(st.integers(1, 3)), draw(st.integers(0, slots - 1))
    position = (lap * slots + begin) * SLOT_BYTES
    holes = draw(st.sets(st.integers(0, slots), max_size=2))
    for number in range(begin, draw(st.integers(begin, slots))):
        if number in holes:
            continue
        words = draw(st.tuples(_WORDS, _WORDS, _WORDS, _WORDS, _WORDS))
        place = lap * slots * SLOT_BYTES + number * SLOT_BYTES
        body = draw(st.binary(max_size=8))
        SLOT.pack_into(memory[0], 256 + number * SLOT_BYTES, *words, body, place)
    return memory, slots, position


def _read(memory: Any, slots: int, position: int, most: int, *, by_c: bool) -> Batch:
    reader = RingReader(memory, 0, slots, position=position)
    known, rings.hot = rings.hot, hot if by_c else None
    try:
        found = reader.read(most)
    finally:
        rings.hot = known
    assert reader.position == position + len(found) * SLOT_BYTES
    return found


@given(_rings(), st.integers(0, 200), st.integers(-1, 200))
@settings(deadline=None, max_examples=300)
def test_a_batch_read_in_c_is_the_same(ring: Any, most: int, limit: int) -> None:
    """Columns, slots, and all that a look at them tells, whatever bytes stand in the ring."""
    memory, slots, position = ring
    ours = _read(memory, slots, position, most, by_c=False)
    theirs = _read(memory, slots, position, most, by_c=True)
    assert len(theirs) == len(ours)
    for name in ("ids", "parents", "starts", "ends", "metas"):
        assert list(getattr(theirs, name)) == list(getattr(ours, name))
    assert list(theirs) == list(ours)
    assert theirs.newest(limit) == ours.newest(limit)
    assert theirs.all_flags() == ours.all_flags()
    if ours:
        assert type(theirs) is hot.Batch
        assert theirs.at(len(ours) - 1) == ours.at(len(ours) - 1)
        assert theirs.blocks() == ours.blocks()
        assert theirs.durations() == ours.durations()
        assert theirs.spread() == ours.spread()


@given(_rings())
@settings(deadline=None, max_examples=300)
def test_what_c_counts_of_a_batch_is_the_same(ring: Any) -> None:
    """Totals, and the last call of each row."""
    memory, slots, position = ring
    batches = [_read(memory, slots, position, 1024, by_c=by_c) for by_c in (False, True)]
    if not batches[0]:
        return
    counted, tables = [Totals(sum_ns=5), Totals(sum_ns=5)], [RowTable({}), RowTable({})]
    for totals, table, batch in zip(counted, tables, batches, strict=True):
        for _ in range(2):
            totals.add_batch(batch, 3, batch.ends[-1])
        table.end_all([batch, batch])
    assert counted[0] == counted[1]
    assert tables[0].ended == tables[1].ended
    assert tables[0].newly_ended == tables[1].newly_ended


def test_every_boundary_of_a_bucket_is_where_it_was() -> None:
    """A duration on it, below and above."""
    memory = _memory(4096, 1)
    durations = [n for k in range(63) for n in (2**k - 1, 2**k, 2**k + 1)]
    durations += [int(1e9 * 2 ** (k / 16)) + off for k in range(-480, 500) for off in (-1, 0, 1)]
    durations = [duration for duration in durations if 0 <= duration <= 1 << 62]
    for number, duration in enumerate(durations):
        position = (4096 + number) * SLOT_BYTES
        slot = (5 << 32, 0, 7, duration + 7, 0, b"", position)
        SLOT.pack_into(memory[0], 256 + number * SLOT_BYTES, *slot)
    for few in (1, 17, 4096):
        counted = [Totals(), Totals()]
        for totals, by_c in zip(counted, (False, True), strict=True):
            position = 4096 * SLOT_BYTES
            while batch := _read(memory, 4096, position, few, by_c=by_c):
                totals.add_batch(batch, 0, 0)
                position += len(batch) * SLOT_BYTES
        assert counted[0] == counted[1]


def test_a_batch_outlives_the_view_that_it_was_read_from() -> None:
    """Its columns stay; bodies are refused, and nobody's memory is kept."""
    memory = _memory(16, 2)
    SLOT.pack_into(memory[0], 256, 1, 2, 3, 4, 5, b"", 16 * SLOT_BYTES)
    batch = _read(memory, 16, 16 * SLOT_BYTES, 16, by_c=True)
    memory[1].release()
    memory[0].release()
    assert list(batch.ids) == [1]
    with pytest.raises(ValueError, match="released"):
        batch.at(0)


@pytest.mark.parametrize(("first", "most"), [(-1, 1), (0, 18), (1, 17), (1 << 60, 1), (0, -1)])
def test_nothing_beyond_the_words_is_read(first: int, most: int) -> None:
    """Neither before nor behind them."""
    memory = _memory(16, 3)
    with pytest.raises(ValueError, match="no slots"):
        hot.read_slots(memory[1], first, most, 0)


@given(st.lists(_rings(), min_size=1, max_size=5))
def test_one_look_at_many_rings_finds_what_a_look_at_each_does(
    several: list[tuple[tuple[memoryview, memoryview], int, int]],
) -> None:
    """The same slots of the same rings, no position moved; behind `aim` it goes on from there."""
    memory, offsets = bytearray(), list[int]()
    for (content, _), _, _ in several:
        offsets.append(len(memory))
        memory += content
    words = memoryview(memory).cast("Q")
    views = memoryview(memory), words

    def readers() -> list[RingReader]:
        return [
            RingReader(views, offset, slots, position=position)
            for offset, (_, slots, position) in zip(offsets, several, strict=True)
        ]

    together, alone = readers(), readers()
    marks = Marks(words, together)
    while found := marks.read():
        expected = [(place, reader.read()) for place, reader in enumerate(alone)]
        assert [(place, list(batch)) for place, batch in found] == [
            (place, list(batch)) for place, batch in expected if batch
        ]
        for place, batch in found:
            together[place].advance(len(batch))
            marks.aim(place)
    assert not any(reader.read() for reader in alone)
    assert [reader.position for reader in together] == [reader.position for reader in alone]


def test_a_round_that_ends_in_the_middle_reads_nothing_twice() -> None:
    """Whoever raises there leaves positions as they are, and the next look begins at these."""
    slots, rings_here = 16, 3
    size = ring_bytes(slots)
    memory = bytearray(size * rings_here)
    for number in range(rings_here):
        for slot in range(4):
            place = (slots + slot) * SLOT_BYTES
            SLOT.pack_into(
                memory, number * size + 256 + slot * SLOT_BYTES, slot + 1, 0, 1, 2, 0, b"", place
            )
    views = memoryview(memory), memoryview(memory).cast("Q")
    lanes = Lanes(views[1])
    for number in range(rings_here):
        lanes.add(Lane(RingReader(views, number * size, slots), number * size, f"tool {number}"))
    broken_off = lanes.take_new()
    seen = [next(broken_off), next(broken_off)]
    broken_off.close()
    seen += lanes.take_new()
    assert [(lane.tool, len(batch or ())) for lane, batch in seen] == [
        ("tool 0", 4),
        ("tool 1", 4),
        ("tool 2", 4),
    ]
    assert not list(lanes.take_new())


@pytest.mark.parametrize("mark", [(0, 18, 0), (17, 17, 0), (1 << 63, 1, 0), (0, 1 << 63, 0)])
def test_no_mark_leads_beyond_the_words(mark: tuple[int, int, int]) -> None:
    """Of those before it nothing is handed out either."""
    memory = _memory(16, 3)
    SLOT.pack_into(memory[0], 256, 1, 2, 3, 4, 5, b"", 16 * SLOT_BYTES)
    with pytest.raises(ValueError, match="no slots"):
        hot.read_marked(memory[1], array("Q", [32, 1, 16 * SLOT_BYTES, *mark]))


def test_a_batch_of_the_one_kind_only_is_counted_there() -> None:
    """Others go by Python."""
    with pytest.raises(TypeError):
        hot.last_of_rows([Batch.of([])])
    assert rowtable.hot is hot
