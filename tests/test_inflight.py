"""Rows, ids and generations, and what a reader makes of every state a worker can leave."""

from __future__ import annotations

import pytest

from shmperf.inflight import (
    BLOCK_BYTES,
    CALLEE,
    GENERATION_STEP,
    PARENT,
    ROWS,
    START,
    InFlightReader,
    begin_block,
    generation_of,
    has_spent_row,
    mark_loss,
    open_calls,
    row_key,
)

BLOCK = 77


@pytest.fixture
def words() -> memoryview:
    return memoryview(bytearray(BLOCK_BYTES)).cast("Q")


def begin(words: memoryview, row: int, *, publish: bool = True) -> int:
    call_id: int = words[row] + GENERATION_STEP
    words[row + START], words[row + PARENT], words[row + CALLEE] = 100, 5, 2
    if publish:
        words[row] = call_id
    return call_id


def test_ids_are_unique_and_carry_block_and_row(words: memoryview) -> None:
    """Calls that use one row in turn, and all rows of a block, get different ids."""
    ready = begin_block(words, 0, BLOCK)
    ids = [begin(words, row) for row in ready for _ in range(3)]
    assert len(set(ids)) == 3 * ROWS
    assert {call_id >> 32 for call_id in ids} == {BLOCK}
    assert len({row_key(call_id) for call_id in ids}) == ROWS


def test_begun_is_the_sum_of_generations(words: memoryview) -> None:
    """Every call that began is counted, whatever became of it."""
    ready = begin_block(words, 0, BLOCK)
    reader = InFlightReader(words, 0, BLOCK)
    assert reader.read().begun == 0
    for _ in range(5):
        begin(words, ready[-1])
    begin(words, ready[-2])
    assert reader.read().begun == 6


def test_row_is_open_until_its_call_is_drained(words: memoryview) -> None:
    """Only an id newer than the last that ended is an open call."""
    (row, *_) = begin_block(words, 0, BLOCK)[::-1]
    reader = InFlightReader(words, 0, BLOCK)
    first = begin(words, row)
    (found,) = open_calls(reader.read(), {})
    assert (found.id, found.start_ns, found.parent, found.callee) == (first, 100, 5, 2)
    ended = {row_key(first): first}
    assert open_calls(reader.read(), ended) == []
    second = begin(words, row)
    assert [found.id for found in open_calls(reader.read(), ended)] == [second]


def test_killed_before_the_id_is_written_never_began(words: memoryview) -> None:
    """A row that was filled but not published shows its former call, which had ended."""
    (row, *_) = begin_block(words, 0, BLOCK)[::-1]
    reader = InFlightReader(words, 0, BLOCK)
    first = begin(words, row)
    begin(words, row, publish=False)
    state = reader.read()
    assert state.begun == 1
    assert open_calls(state, {row_key(first): first}) == []


def test_lost_call_is_neither_open_nor_forgotten(words: memoryview) -> None:
    """A loss is marked in the row, so its call is lost and not aborted as well."""
    (row, *_) = begin_block(words, 0, BLOCK)[::-1]
    reader = InFlightReader(words, 0, BLOCK)
    for _ in range(3):
        mark_loss(words, row, begin(words, row))
    state = reader.read()
    assert (state.begun, state.lost) == (3, 3)
    assert open_calls(state, {}) == []
    assert reader.has_left(words[row])


def test_unchanged_table_is_seen_by_one_comparison(words: memoryview) -> None:
    """A worker that began nothing looks unchanged."""
    ready = begin_block(words, 0, BLOCK)
    reader = InFlightReader(words, 0, BLOCK)
    assert reader.has_changed()
    reader.read()
    assert not reader.has_changed()
    begin(words, ready[0])
    assert reader.has_changed()
    assert reader.has_changed()


def test_row_with_a_foreign_id_is_not_believed(words: memoryview) -> None:
    """An id of another block in a row counts as nothing."""
    ready = begin_block(words, 0, BLOCK)
    words[ready[0]] = (BLOCK + 1) << 32 | 5 << 6
    state = InFlightReader(words, 0, BLOCK).read()
    assert (state.begun, state.rows) == (0, [])


def test_rows_are_replaced_long_before_their_generations_end(words: memoryview) -> None:
    """A row that is half used up is noticed."""
    ready = begin_block(words, 0, BLOCK)
    assert not has_spent_row(words, 0)
    words[ready[3]] |= 1 << 25 << 6
    assert generation_of(words[ready[3]]) == 1 << 25
    assert has_spent_row(words, 0)
