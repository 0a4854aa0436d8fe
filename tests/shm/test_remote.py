"""Contexts from elsewhere: what one process writes down, another finds by its id."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.shm.inflight import FIRST_UNRECORDED
from shmperf.shm.remote import (
    ENTRY_BYTES,
    MOST_EXTENTS,
    PLACES,
    Remote,
    RemoteReader,
    RemoteWriter,
    is_remote,
    remote_block,
)

EXTENT = PLACES * ENTRY_BYTES
BLOCK = 7


def remote(number: int) -> Remote:
    return Remote(number.to_bytes(16, "big"), (number + 1).to_bytes(8, "big"))


@pytest.fixture
def memory() -> memoryview:
    return memoryview(bytearray(MOST_EXTENTS * EXTENT))


def pair(memory: memoryview, extents: int = 1) -> tuple[RemoteWriter, RemoteReader]:
    writer, reader = RemoteWriter(memory, BLOCK), RemoteReader(memory)
    for number in range(extents):
        writer.add(number * EXTENT)
        reader.add(number * EXTENT)
    return writer, reader


def test_what_is_put_is_found_by_its_id(memory: memoryview) -> None:
    """An id stands for one context, names its process's block, and is no call's."""
    writer, reader = pair(memory)
    ids = [writer.put(remote(number)) for number in range(100)]
    assert len(set(ids)) == 100
    assert [reader.find(one) for one in ids] == [remote(number) for number in range(100)]
    assert all(is_remote(one) and remote_block(one) == BLOCK for one in ids)
    assert not is_remote(FIRST_UNRECORDED)
    assert not is_remote(FIRST_UNRECORDED - 1 >> 1)
    assert {one: reader.find(one) for one in ids} == reader.all()


def test_a_place_that_is_used_again_has_another_id(memory: memoryview) -> None:
    """Whoever looks for what stood there finds nothing, rather than somebody else's trace."""
    writer, reader = pair(memory)
    first = writer.put(remote(1))
    writer.give_back(first)
    assert reader.find(first) == remote(1)
    others = []
    for number in range(PLACES):
        others.append(writer.put(remote(100 + number)))
        writer.give_back(others[-1])
    assert reader.find(first) is None
    assert first not in others
    assert reader.find(others[-1]) == remote(100 + PLACES - 1)


def test_places_that_are_held_are_not_used_again(memory: memoryview) -> None:
    """What is held stays, however many come; when all are held, there is none."""
    writer, reader = pair(memory)
    held = [writer.put(remote(number)) for number in range(PLACES - 1)]
    assert all(held)
    assert writer.put(remote(5000)) == 0
    writer.give_back(held[0])
    writer.give_back(held[0] + 1)
    assert writer.put(remote(5001)) not in (0, held[0])
    assert reader.find(held[0]) is None
    assert [reader.find(one) for one in held[1:]] == [remote(n) for n in range(1, PLACES - 1)]


def test_there_is_room_for_a_bounded_number(memory: memoryview) -> None:
    """Extents are asked for as places run out, and no more than there may be."""
    writer, _ = pair(memory, 0)
    count = 0
    while True:
        while writer.wants_more():
            writer.add(writer.extents * EXTENT)
        if not writer.put(remote(count)):
            break
        count += 1
    assert writer.extents == MOST_EXTENTS
    assert count == MOST_EXTENTS * PLACES - 1


def test_a_process_has_a_context_of_its_own(memory: memoryview) -> None:
    """It stands in a place that nothing else takes."""
    writer, reader = pair(memory)
    assert reader.own(BLOCK) is None
    writer.put_own(remote(9))
    for number in range(2 * PLACES):
        writer.give_back(writer.put(remote(number)))
    assert reader.own(BLOCK) == remote(9)
    assert reader.own(BLOCK + 1) is None


def test_threads_take_places_of_their_own(memory: memoryview) -> None:
    """No two threads write to one place at once."""
    writer, reader = pair(memory, 4)
    taken: list[tuple[int, int]] = []

    def take(first: int) -> None:
        taken.extend((writer.put(remote(n)), n) for n in range(first, first + 500))

    threads = [threading.Thread(target=take, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for one, _ in taken}) == 2000
    assert all(reader.find(one) == remote(number) for one, number in taken)


@given(at=st.integers(0, ENTRY_BYTES * 3 - 1), byte=st.integers(1, 255))
def test_damage_is_no_context(at: int, byte: int) -> None:
    """A byte that is wrong, as of a store that is half done, costs the context and nothing else."""
    memory = memoryview(bytearray(EXTENT))
    writer, reader = pair(memory)
    ids = [writer.put(remote(number)) for number in (1, 2)]
    before = bytes(memory[: ENTRY_BYTES * 3])
    memory[at] ^= byte
    for number, one in enumerate(ids, 1):
        is_whole = memory[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES] == memoryview(
            before[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES]
        )
        assert reader.find(one) == (remote(number) if is_whole else None)


@given(st.integers(0, (1 << 64) - 1))
def test_no_id_leads_outside(number: int) -> None:
    """Whatever a record has as its parent, it is looked for within the extents."""
    _, reader = pair(memoryview(bytearray(EXTENT)))
    assert reader.find(number) is None
