"""
The table of open calls: rows, ids and generations, over any writable buffer.

A block is 64 rows of eight words; a call occupies a row while it runs.

    word  0      1          2        3        4       5       6        7
        ┌──────┬──────────┬────────┬────────┬───────┬───────┬────────┬───┐
        │ id   │ start_ns │ parent │ callee │ loss  │ ended │ thread │ – │
        └──────┴──────────┴────────┴────────┴───────┴───────┴────────┴───┘
    id:    block (32) · generation (26) · row (6), from the high end
    callee: mode (1: in detail) · line of the name table (16), from the low end's 17 bits
    loss:  count (38) · generation of the last loss (26)
    ended: the id of the last call here in which the process forked, once that has ended
    thread: where a compiled call runs, whose frame nobody finds; 0 where a frame of ours tells

A row's id word tells how often the row was used, so the sum of all generations is the number of
calls begun. A start writes the row and its id last. An end writes nothing here: the record carries
the id, and a row is open exactly as long as its id is newer than the last one drained, lost or
buried for it. Only who has forked meanwhile says so here, as its child reads no records. A lost
call has no record, so its loss is marked in its row: a row has one writer at a time, the call that
occupies it, and needs no lock.

    killed after …                  the reader sees                 counted as
    row taken, id not yet written   the row's former id, drained    nothing: it never began
    id written                      an id without a record          aborted
    record stored                   the record                      finished
    loss marked                     the loss                        lost

Ready rows lie in a plain list: ``pop`` and ``append`` are atomic, and the row last used is the
next one taken, so a flat program touches one cache line. A block whose generations run out is
replaced by one with a fresh number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

__all__ = [
    "BLOCK_BYTES",
    "CALLEE",
    "ENDED",
    "FIRST_UNRECORDED",
    "GENERATION_STEP",
    "IN_DETAIL",
    "KEY_MASK",
    "LOSS",
    "MOST_BLOCKS",
    "PARENT",
    "ROWS",
    "ROW_WORDS",
    "START",
    "THREAD",
    "InFlightReader",
    "OpenRow",
    "RowChange",
    "begin_block",
    "block_of",
    "blocks_of",
    "callee_in",
    "generation_of",
    "has_spent_row",
    "is_lost",
    "mark_loss",
    "row_in",
    "row_key",
]

ROWS = 64
_BLOCK_SHIFT = 32
ROW_WORDS = 8
BLOCK_BYTES = ROWS * ROW_WORDS * 8
START, PARENT, CALLEE, LOSS, ENDED, THREAD = 1, 2, 3, 4, 5, 6
# Beside the callee: the call is recorded in detail. Nothing else of it is known before it ends.
IN_DETAIL = 1 << 16
_CALLEE_MASK = IN_DETAIL - 1

_ROW_BITS = 6
GENERATION_STEP = 1 << _ROW_BITS
_GENERATIONS = 1 << 26
_GENERATION_MASK = _GENERATIONS - 1
# Numbers of blocks lie below: ids above stand for what called from elsewhere, and for no record.
MOST_BLOCKS = 1 << 31
# What of an id is the same for all calls that occupy one row in turn; for whole columns of ids.
KEY_MASK = (1 << 64) - 1 - (_GENERATION_MASK << _ROW_BITS)
# The last block, which is none: ids from here on tell apart, in one process, the open calls that
# get no record. They are nobody's parents.
FIRST_UNRECORDED = 0xFFFFFFFF << _BLOCK_SHIFT
# Rows are looked at every so many refills; between two looks a row is used less often than this.
_SPENT = _GENERATIONS // 2


def block_of(call_id: int) -> int:
    """The number of the block that the row of *call_id* stands in."""
    return call_id >> _BLOCK_SHIFT


def blocks_of(ids: Sequence[int]) -> set[int]:
    """The blocks that *ids* belong to; mostly it is one, and then this is a look in C."""
    first, last = min(ids) >> _BLOCK_SHIFT, max(ids) >> _BLOCK_SHIFT
    return {first} if first == last else {call_id >> _BLOCK_SHIFT for call_id in ids}


def generation_of(call_id: int) -> int:
    """How often the row of *call_id* had been used, this call included."""
    return call_id >> _ROW_BITS & _GENERATION_MASK


def callee_in(word: int) -> int:
    """The line of the name table that a row's callee word names."""
    return word & _CALLEE_MASK


def row_key(call_id: int) -> int:
    """Block and row of *call_id*: the same for all calls that occupy one row in turn."""
    return call_id & KEY_MASK


def begin_block(words: memoryview, first_word: int, block: int) -> list[int]:
    """
    Write the rows of a fresh *block* and return the words where they begin, ready to be taken.

    The owner of the memory, before anybody else can see the block.
    """
    ready = [first_word + row * ROW_WORDS for row in range(ROWS)]  # point: block-begin
    for row, word in enumerate(ready):
        words[word] = block << _BLOCK_SHIFT | row
    return ready[::-1]  # point: block-written


def row_in(blocks: Mapping[int, int], call_id: int) -> int:
    """The word where the row of *call_id* begins, when *blocks* begin at these; 0 in none."""
    first = blocks.get(block_of(call_id))
    return 0 if first is None else first + (call_id & ROWS - 1) * ROW_WORDS


def mark_loss(words: memoryview, row_word: int, call_id: int) -> bool:
    """
    Count the call that occupies the row as lost; False when that has been done before.

    Only by that call; whoever interrupts it finds the loss marked or not, and marks it once.
    """
    if is_lost(words, row_word, call_id):
        return False
    count = words[row_word + LOSS] >> 26
    words[row_word + LOSS] = count + 1 << 26 | generation_of(call_id)  # point: row-loss
    return True


def has_spent_row(words: memoryview, first_word: int) -> bool:
    """True when a row of the block has used up half of its generations."""
    end = first_word + ROWS * ROW_WORDS
    ids = words[first_word:end:ROW_WORDS].tolist()
    return max(map(generation_of, ids)) >= _SPENT


def is_lost(words: memoryview, row_word: int, call_id: int) -> bool:
    """True when the loss of the call that occupies the row has been marked."""
    return bool(words[row_word + LOSS] & _GENERATION_MASK == generation_of(call_id))


# What a block that nobody has read yet is compared with.
_UNUSED = bytes(BLOCK_BYTES)


class OpenRow(msgspec.Struct, frozen=True):
    """A row's words while its call is open."""

    id: int
    start_ns: int
    parent: int
    callee: int
    in_detail: bool = False
    thread: int = 0


class RowChange(msgspec.Struct, frozen=True):
    """
    A row that has changed: its key, by how many begun and lost calls, and what is in it now.

    That call is open unless it is drained; where *may_be_open* is false there is none.
    """

    key: int
    begun: int
    lost: int
    may_be_open: bool
    row: OpenRow


class InFlightReader:
    """One block as another process reads it; the collector's thread."""

    __slots__ = ("_first", "_last", "_words", "block")

    def __init__(self, words: memoryview, offset: int, block: int) -> None:
        self._words = words
        self._first = offset // 8
        self._last = b""
        self.block = block

    def has_changed(self) -> bool:
        """True when any row differs from the last reading: the worker began or lost a call."""
        return self._look() != self._last

    def changes(self) -> list[RowChange]:
        """The rows that differ from the last reading; the first time every row that was used."""
        now = self._look()
        if now == self._last:
            return []
        last = memoryview(self._last or _UNUSED).cast("Q").tolist()
        self._last = now
        words = memoryview(now).cast("Q").tolist()
        return [
            self._change(at // ROW_WORDS, words[at : at + ROW_WORDS], last[at], last[at + LOSS])
            for at in range(0, len(words), ROW_WORDS)
            if words[at] != last[at] or words[at + LOSS] != last[at + LOSS]
        ]

    def used(self) -> list[RowChange]:
        """Every row that was used, at this moment; it does not count as a reading."""
        words = memoryview(self._look()).cast("Q").tolist()
        return [
            self._change(at // ROW_WORDS, words[at : at + ROW_WORDS], 0, 0)
            for at in range(0, len(words), ROW_WORDS)
            if words[at]
        ]

    def _change(self, number: int, row: list[int], last_id: int, last_loss: int) -> RowChange:
        call_id, loss, callee = row[0], row[LOSS], row[CALLEE]
        begun = self._begun(call_id, loss)
        return RowChange(
            self.block << _BLOCK_SHIFT | number,
            begun - self._begun(last_id, last_loss),
            (loss >> 26) - (last_loss >> 26),
            begun > loss & _GENERATION_MASK,
            OpenRow(
                call_id,
                row[START],
                row[PARENT],
                callee_in(callee),
                bool(callee & IN_DETAIL),
                row[THREAD],
            ),
        )

    def _begun(self, call_id: int, loss: int) -> int:
        """Calls that have begun in a row with these words; 0 in one that is not of this block."""
        generation = generation_of(call_id)
        if not generation or block_of(call_id) != self.block:
            return 0
        # The words are read in order: a call may begin and be lost between its id and its loss.
        return max(generation, loss & _GENERATION_MASK)

    def _look(self) -> bytes:
        return self._words[self._first : self._first + ROWS * ROW_WORDS].tobytes()

    def has_left(self, call_id: int) -> bool:
        """True when the row of *call_id* says that it was lost or that another call is in it."""
        at = self._first + (call_id & ROWS - 1) * ROW_WORDS
        lost = self._words[at + LOSS] & _GENERATION_MASK == generation_of(call_id)
        return bool(lost or self._words[at] != call_id)
