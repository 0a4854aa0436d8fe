"""What is kept of a worker's rows from look to look, and which of them a look leaves out."""

from __future__ import annotations

import pytest

from shmperf.shm.inflight import (
    BLOCK_BYTES,
    CALLEE,
    GENERATION_STEP,
    PARENT,
    START,
    InFlightReader,
    begin_block,
    mark_loss,
)
from shmperf.shm.rowtable import RowTable

BLOCKS = 4
LONG_AGO = 20


@pytest.fixture
def words() -> memoryview:
    return memoryview(bytearray(BLOCK_BYTES * BLOCKS)).cast("Q")


@pytest.fixture
def rows(words: memoryview) -> list[int]:
    """One row of each of four blocks."""
    return [begin_block(words, at * BLOCK_BYTES // 8, at + 1)[-1] for at in range(BLOCKS)]


@pytest.fixture
def table(words: memoryview) -> RowTable:
    found = RowTable({})
    for at in range(BLOCKS):
        found.add(InFlightReader(words, at * BLOCK_BYTES, at + 1))
    return found


def begin(words: memoryview, row: int) -> int:
    call_id: int = words[row] + GENERATION_STEP
    words[row + START], words[row + PARENT], words[row + CALLEE] = 100, 5, 2
    words[row] = call_id
    return call_id


def cool(table: RowTable) -> None:
    """Nothing happens for long."""
    table.read()
    for _ in range(LONG_AGO):
        table.look_everywhere()
        assert not table.has_changed()
        table.read()


def test_a_block_that_nobody_uses_is_left_out(
    words: memoryview, rows: list[int], table: RowTable
) -> None:
    """A look costs the blocks in use; the next one at everything finds what began elsewhere."""
    cool(table)
    assert table.has_cold
    call_id = begin(words, rows[2])
    assert not table.has_changed()
    table.read()
    assert table.begun == 0
    table.look_everywhere()
    assert table.has_changed()
    table.read()
    assert (table.begun, next(iter(table.open.values())).id) == (1, call_id)
    mark_loss(words, rows[2], call_id)
    assert table.has_changed()  # it is in use again


def test_everything_is_read_before_it_is_told(
    words: memoryview, rows: list[int], table: RowTable
) -> None:
    """Whoever needs to know gets the rows of cold blocks as well."""
    cool(table)
    for row in rows:
        begin(words, row)
    table.read(everywhere=True)
    assert (table.begun, len(table.open)) == (BLOCKS, BLOCKS)


def test_an_end_warms_the_block_of_its_row(
    words: memoryview, rows: list[int], table: RowTable
) -> None:
    """The row that was given back last is taken next: its block is looked at again."""
    call_id = begin(words, rows[1])
    cool(table)
    table.end([call_id])
    begin(words, rows[1])
    assert table.has_changed()


def test_a_second_block_of_the_same_number_is_not_believed(
    words: memoryview, rows: list[int], table: RowTable
) -> None:
    """A damaged directory counts no call twice."""
    begin(words, rows[0])
    table.add(InFlightReader(words, 0, 1))
    table.read()
    assert table.begun == 1
