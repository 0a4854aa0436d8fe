"""Rows, ids and generations, and what a reader makes of every state a worker can leave."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shmperf.shm.inflight import (
    BLOCK_BYTES,
    CALLEE,
    GENERATION_STEP,
    IN_DETAIL,
    LOSS,
    PARENT,
    ROW_WORDS,
    ROWS,
    START,
    InFlightReader,
    begin_block,
    generation_of,
    has_spent_row,
    is_lost,
    mark_loss,
    row_key,
)
from shmperf.shm.rowtable import RowTable

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


def table_of(words: memoryview, ended: dict[int, int] | None = None, offset: int = 0) -> RowTable:
    """What somebody finds who reads the block for the first time."""
    table = RowTable({} if ended is None else dict(ended))
    table.add(InFlightReader(words, offset, BLOCK))
    table.read()
    return table


def open_ids(words: memoryview, ended: dict[int, int] | None = None) -> list[int]:
    return [row.id for row in table_of(words, ended).open.values()]


def test_begun_is_the_sum_of_generations(words: memoryview) -> None:
    """Every call that began is counted, whatever became of it."""
    ready = begin_block(words, 0, BLOCK)
    table = table_of(words)
    assert table.begun == 0
    for _ in range(5):
        begin(words, ready[-1])
    begin(words, ready[-2])
    table.read()
    assert table.begun == table_of(words).begun == 6


def test_row_is_open_until_its_call_is_drained(words: memoryview) -> None:
    """Only an id newer than the last that ended is an open call."""
    (row, *_) = begin_block(words, 0, BLOCK)[::-1]
    first = begin(words, row)
    table = table_of(words)
    (found,) = table.open.values()
    assert (found.id, found.start_ns, found.parent, found.callee) == (first, 100, 5, 2)
    assert (table.parents, table.callees) == ({first: 5}, {2: 1})
    table.end([first])
    assert table.open == table.parents == table.callees == {}
    assert table.newly_ended == {row_key(first): first}
    second = begin(words, row)
    table.read()
    assert [row.id for row in table.open.values()] == [second]
    assert open_ids(words, table.ended) == [second]


def test_a_row_says_in_which_mode_its_call_is_recorded(words: memoryview) -> None:
    """Beside the callee; whatever else its word holds, a number of the name table comes out."""
    (row, *_) = begin_block(words, 0, BLOCK)[::-1]
    for word, callee, in_detail in (
        (2, 2, False),
        (2 | IN_DETAIL, 2, True),
        (0xFFFF, 0xFFFF, False),
        (1 << 63 | 3, 3, False),
    ):
        begin(words, row)
        words[row + CALLEE] = word
        (found,) = table_of(words).open.values()
        assert (found.callee, found.in_detail) == (callee, in_detail)


def test_killed_before_the_id_is_written_never_began(words: memoryview) -> None:
    """A row that was filled but not published shows its former call, which had ended."""
    (row, *_) = begin_block(words, 0, BLOCK)[::-1]
    first = begin(words, row)
    begin(words, row, publish=False)
    assert table_of(words).begun == 1
    assert open_ids(words, {row_key(first): first}) == []


def test_lost_call_is_neither_open_nor_forgotten(words: memoryview) -> None:
    """A loss is marked in the row, so its call is lost and not aborted as well."""
    (row, *_) = begin_block(words, 0, BLOCK)[::-1]
    reader = InFlightReader(words, 0, BLOCK)
    for _ in range(3):
        mark_loss(words, row, begin(words, row))
    table = table_of(words)
    assert (table.begun, table.lost) == (3, 3)
    assert table.open == {}
    assert reader.has_left(words[row])


def test_unchanged_table_is_seen_by_one_comparison(words: memoryview) -> None:
    """A worker that began nothing looks unchanged."""
    ready = begin_block(words, 0, BLOCK)
    reader = InFlightReader(words, 0, BLOCK)
    assert reader.has_changed()
    reader.changes()
    assert not reader.has_changed()
    begin(words, ready[0])
    assert reader.has_changed()
    assert reader.has_changed()


def test_row_with_a_foreign_id_is_not_believed(words: memoryview) -> None:
    """An id of another block in a row counts as nothing."""
    ready = begin_block(words, 0, BLOCK)
    words[ready[0]] = (BLOCK + 1) << 32 | 5 << 6
    table = table_of(words)
    assert (table.begun, table.open) == (0, {})


def test_rows_are_replaced_long_before_their_generations_end(words: memoryview) -> None:
    """A row that is half used up is noticed."""
    ready = begin_block(words, 0, BLOCK)
    assert not has_spent_row(words, 0)
    words[ready[3]] |= 1 << 25 << 6
    assert generation_of(words[ready[3]]) == 1 << 25
    assert has_spent_row(words, 0)


class TableModel(RuleBasedStateMachine):
    """Whatever the order: a call is open from its id to its record or its loss, and begins once."""

    @initialize(block=st.integers(1, 2**32 - 1), offset=st.integers(0, 3))
    def start(self, block: int, offset: int) -> None:
        self.first = offset * 8
        self.words = memoryview(bytearray(BLOCK_BYTES + 512)).cast("Q")
        self.ready = begin_block(self.words, self.first, block)
        self.reader = InFlightReader(self.words, self.first * 8, block)
        self.kept = RowTable({})
        self.kept.add(InFlightReader(self.words, self.first * 8, block))
        self.open: dict[int, int] = {}
        self.ended: dict[int, int] = {}
        self.undrained: list[int] = []
        self.begun = self.lost = self.finished = 0
        self.changed = True

    @rule()
    def begin(self) -> None:
        if self.ready:
            row = self.ready.pop()
            self.open[begin(self.words, row)] = row
            self.begun += 1
            self.changed = True

    @rule(number=st.integers(0, ROWS))
    def finish(self, number: int) -> None:
        if self.open:
            call_id = sorted(self.open)[number % len(self.open)]
            self.ready.append(self.open.pop(call_id))
            self.undrained.append(call_id)
            self.finished += 1

    @rule(number=st.integers(0, ROWS), often=st.integers(1, 3))
    def lose(self, number: int, often: int) -> None:
        if self.open:
            call_id = sorted(self.open)[number % len(self.open)]
            row = self.open.pop(call_id)
            marked = [mark_loss(self.words, row, call_id) for _ in range(often)]
            assert marked == [True] + [False] * (often - 1)
            self.ready.append(row)
            self.lost += 1
            self.changed = True

    @rule()
    def take_a_row_without_beginning(self) -> None:
        if self.ready:
            begin(self.words, self.ready[-1], publish=False)

    @rule()
    def drain(self) -> None:
        for call_id in self.undrained:
            self.ended[row_key(call_id)] = max(call_id, self.ended.get(row_key(call_id), 0))
        self.kept.end(self.undrained)
        self.undrained.clear()

    @rule()
    def look(self) -> None:
        assert self.reader.has_changed() or not self.changed
        self.reader.changes()
        assert not self.reader.has_changed()
        self.changed = False

    @rule()
    def read(self) -> None:
        self.kept.read()

    @invariant()
    def books_balance(self) -> None:
        if not hasattr(self, "words"):
            return
        self.drain()
        fresh = RowTable(dict(self.ended))
        fresh.add(InFlightReader(self.words, self.first * 8, self.reader.block))
        fresh.read()
        assert {row.id for row in fresh.open.values()} == set(self.open)
        assert (fresh.begun, fresh.lost) == (self.begun, self.lost)
        assert fresh.begun == self.finished + fresh.lost + len(fresh.open)
        assert all(not self.reader.has_left(call_id) for call_id in self.open)

    @rule()
    def what_is_kept_is_what_is_there(self) -> None:
        self.drain()
        self.kept.read()
        rows = self.kept.open.values()
        assert {row.id for row in rows} == set(self.open) == set(self.kept.parents)
        assert Counter(row.callee for row in rows) == self.kept.callees
        assert (self.kept.begun, self.kept.lost) == (self.begun, self.lost)
        assert self.kept.ended == self.ended


TestTableModel = TableModel.TestCase
TestTableModel.settings = settings(max_examples=60, stateful_step_count=60)


@pytest.mark.parametrize("former", [None, "drained", "lost"])
@pytest.mark.parametrize("stored", range(4))
def test_killed_while_taking_a_row(words: memoryview, former: str | None, stored: int) -> None:
    """However much of a row is written, without an id nothing began."""
    row = begin_block(words, 0, BLOCK)[-1]
    ended: dict[int, int] = {}
    if former is not None:
        call_id = begin(words, row)
        if former == "lost":
            mark_loss(words, row, call_id)
        else:
            ended[row_key(call_id)] = call_id
    for word in (START, PARENT, CALLEE)[:stored]:
        words[row + word] = 2**64 - 1
    table = table_of(words, ended)
    assert (table.begun, table.lost) == (former is not None, former == "lost")
    assert table.open == {}


def test_killed_at_each_later_row_of_the_crash_table(words: memoryview) -> None:
    """An id without a record is aborted, with a record finished, with a marked loss lost."""
    ready = begin_block(words, 0, BLOCK)
    aborted, finished, lost = (begin(words, row) for row in ready[-3:])
    mark_loss(words, ready[-1], lost)
    table = table_of(words, {row_key(finished): finished})
    assert [row.id for row in table.open.values()] == [aborted]
    assert (table.begun, table.lost) == (3, 1)


def test_former_loss_does_not_hide_the_next_call(words: memoryview) -> None:
    """A loss is of one generation: the next call of the row is open, and is lost on its own."""
    row = begin_block(words, 0, BLOCK)[-1]
    first = begin(words, row)
    assert mark_loss(words, row, first)
    second = begin(words, row)
    assert is_lost(words, row, first)
    assert not is_lost(words, row, second)
    reader = InFlightReader(words, 0, BLOCK)
    assert open_ids(words) == [second]
    assert not reader.has_left(second)
    assert mark_loss(words, row, second)
    assert table_of(words).lost == 2


def test_late_record_of_a_former_call_ends_no_newer_one(words: memoryview) -> None:
    """Only a record as new as the row's id ends the call in it."""
    row = begin_block(words, 0, BLOCK)[-1]
    first, second = begin(words, row), begin(words, row)
    assert open_ids(words, {row_key(first): first}) == [second]
    assert open_ids(words, {row_key(second): second}) == []


def test_row_is_left_when_another_call_is_in_it(words: memoryview) -> None:
    """A call whose row holds a newer id will store nothing more."""
    row = begin_block(words, 0, BLOCK)[-1]
    reader = InFlightReader(words, 0, BLOCK)
    first = begin(words, row)
    assert not reader.has_left(first)
    begin(words, row)
    assert reader.has_left(first)


def test_call_that_begins_and_is_lost_while_a_row_is_read_is_counted(words: memoryview) -> None:
    """A loss newer than the id read before it counts as begun: the books balance in between."""
    row = begin_block(words, 0, BLOCK)[-1]
    call_id = begin(words, row)
    mark_loss(words, row, call_id)
    mark_loss(words, row, call_id + GENERATION_STEP)
    table = table_of(words)
    assert (table.begun, table.lost) == (2, 2)
    assert table.open == {}


@pytest.mark.parametrize(("generation", "spent"), [((1 << 25) - 1, False), (1 << 25, True)])
def test_any_row_of_a_block_can_be_the_spent_one(
    words: memoryview, generation: int, spent: bool
) -> None:
    """Half of the generations is the bound, for the first row and the last."""
    for row in begin_block(words, 0, BLOCK):
        former = words[row]
        words[row] += generation * GENERATION_STEP
        assert has_spent_row(words, 0) == spent
        words[row] = former


def test_last_generation_stays_inside_its_block(words: memoryview) -> None:
    """The largest generation changes neither block nor row of an id."""
    row = begin_block(words, 0, BLOCK)[-1]
    fresh = words[row]
    words[row] += ((1 << 26) - 2) * GENERATION_STEP
    last = begin(words, row)
    assert generation_of(last) == (1 << 26) - 1
    assert (row_key(last), last >> 32) == (fresh, BLOCK)


def test_every_row_is_taken_once_and_the_last_used_comes_first(words: memoryview) -> None:
    """Ready rows are all rows of the block, each with a number of its own."""
    ready = begin_block(words, 0, BLOCK)
    assert sorted(ready) == list(range(0, ROWS * ROW_WORDS, ROW_WORDS))
    assert [words[row] & ROWS - 1 for row in reversed(ready)] == list(range(ROWS))


@given(
    st.dictionaries(
        st.integers(0, ROWS * ROW_WORDS - 1),
        st.one_of(
            st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1).map(lambda low: BLOCK << 32 | low)
        ),
        max_size=40,
    ),
    st.integers(0, 2**64 - 1),
)
def test_any_words_in_a_block_are_read(damage: dict[int, int], call_id: int) -> None:
    """A damaged table is read without an error, and gives only ids of its own block."""
    memory = bytearray(BLOCK_BYTES)
    words = memoryview(memory).cast("Q")
    begin_block(words, 0, BLOCK)
    for at, word in damage.items():
        words[at] = word
    image = bytes(memory)
    reader = InFlightReader(words, 0, BLOCK)
    table = RowTable({})
    table.add(reader)
    table.read()
    assert all(row.id >> 32 == BLOCK for row in table.open.values())
    assert table.begun >= len(table.open)
    assert reader.has_left(call_id) in {True, False}
    assert not reader.has_changed()
    assert bytes(memory) == image


def test_loss_count_does_not_touch_the_generation(words: memoryview) -> None:
    """Many losses in one row stay apart from the generation of the last."""
    row = begin_block(words, 0, BLOCK)[-1]
    words[row + LOSS] = (1 << 37) << 26
    call_id = begin(words, row)
    assert mark_loss(words, row, call_id)
    assert words[row + LOSS] == (1 << 37) + 1 << 26 | 1
