"""What open calls show: what one process writes into a cell, another finds by the call's id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.shm.board import (
    BOARD_BYTES,
    CELLS,
    MOST_BOARDS,
    MOST_BODY_BYTES,
    BoardReader,
    BoardWriter,
    Shown,
)


def pair(extents: int = 1) -> tuple[memoryview, BoardWriter, BoardReader]:
    memory = memoryview(bytearray(8 + extents * BOARD_BYTES))
    writer, reader = BoardWriter(memory), BoardReader(memory)
    for number in range(extents):
        writer.add(8 + number * BOARD_BYTES)
        reader.add(8 + number * BOARD_BYTES)
    return memory, writer, reader


def test_what_is_written_is_found_by_its_id() -> None:
    """By that call's id alone, with all its bytes; an empty body and the longest one, too."""
    _, writer, reader = pair(2)
    shown = {n + 1: Shown(n % 3, bytes([n]) * n) for n in range(2 * CELLS - 1)}
    shown[99] = Shown(0, b"x" * MOST_BODY_BYTES)
    for call_id, one in shown.items():
        writer.write(next(writer.free), call_id, one)
    assert reader.shown(shown.keys()) == shown
    assert reader.shown({5}) == {5: shown[5]}
    assert reader.shown({1000, 0}) == {}


def test_cells_are_bounded_and_used_again() -> None:
    """When all are taken there is none; one that is given back shows its next call."""
    _, writer, reader = pair()
    cells = [next(writer.free) for _ in range(CELLS)]
    assert len(set(cells)) == CELLS
    with pytest.raises(IndexError):
        next(writer.free)
    assert writer.wants_more()
    writer.write(cells[3], 7, Shown(0, b"first"))
    writer.give_back(cells[3])
    assert next(writer.free) == cells[3]
    writer.write(cells[3], 8, Shown(0, b"second"))
    assert reader.shown({7, 8}) == {8: Shown(0, b"second")}
    writer.extents = MOST_BOARDS
    assert not writer.wants_more()


@given(st.integers(0, 2 * 512), st.integers(1, 255))
def test_a_cell_that_is_not_whole_shows_nothing(at: int, bits: int) -> None:
    """Half of a store, or damage: one bit of it, wherever it is, and the call has no parameters."""
    memory, writer, reader = pair()
    cell = next(writer.free)
    writer.write(cell, 7, Shown(1, b"some parameters"))
    whole = reader.shown({7})
    place = at % (16 + len(b"some parameters"))
    memory[cell + place] ^= bits
    assert reader.shown({7}) == {}
    memory[cell + place] ^= bits
    assert reader.shown({7}) == whole == {7: Shown(1, b"some parameters")}


@given(st.binary(max_size=600), st.integers(0, 2000))
def test_any_bytes_are_read(noise: bytes, at: int) -> None:
    """Whatever stands there, nothing fails and nothing outside a cell is read."""
    memory, writer, reader = pair()
    writer.write(next(writer.free), 7, Shown(0, b"x"))
    at = 8 + at % (BOARD_BYTES - len(noise))
    memory[at : at + len(noise)] = noise
    for one in reader.shown({0, 7, int.from_bytes(noise[:8], "little")}).values():
        assert len(one.body) <= MOST_BODY_BYTES


def test_a_reader_takes_no_more_extents_than_there_may_be() -> None:
    """A directory is not believed."""
    memory = memoryview(bytearray(BOARD_BYTES))
    writer, reader = BoardWriter(memory), BoardReader(memory)
    writer.add(0)
    writer.write(next(writer.free), 7, Shown(0, b"x"))
    for _ in range(MOST_BOARDS):
        reader.add(BOARD_BYTES)
    reader.add(0)
    assert reader.shown({7}) == {}
