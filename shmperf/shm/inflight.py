"""
The table of open calls: rows, ids and generations, over any writable buffer.

A block is 64 rows of eight words; a call occupies a row while it runs.

    word  0      1          2        3        4       5 … 7
        ┌──────┬──────────┬────────┬────────┬───────┬───────┐
        │ id   │ start_ns │ parent │ callee │ loss  │ –     │
        └──────┴──────────┴────────┴────────┴───────┴───────┘
    id:    block (32) · generation (26) · row (6), from the high end
    callee: mode (1: in detail) · line of the name table (16), from the low end's 17 bits
    loss:  count (38) · generation of the last loss (26)

A row's id word tells how often the row was used, so the sum of all generations is the number of
calls begun. A start writes the row and its id last. An end writes nothing here: the record carries
the id, and a row is open exactly as long as its id is newer than the last one drained, lost or
buried for it. A lost call has no record, so its loss is marked in its row: a row has one writer at
a time, the call that occupies it, and needs no lock.

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

from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "BLOCK_BYTES",
    "CALLEE",
    "GENERATION_STEP",
    "IN_DETAIL",
    "KEY_MASK",
    "LOSS",
    "PARENT",
    "ROWS",
    "ROW_WORDS",
    "START",
    "InFlightReader",
    "OpenRow",
    "RowState",
    "begin_block",
    "block_of",
    "blocks_of",
    "callee_in",
    "generation_of",
    "has_spent_row",
    "is_lost",
    "mark_loss",
    "open_calls",
    "row_key",
]

ROWS = 64
_BLOCK_SHIFT = 32
ROW_WORDS = 8
BLOCK_BYTES = ROWS * ROW_WORDS * 8
START, PARENT, CALLEE, LOSS = 1, 2, 3, 4
# Beside the callee: the call is recorded in detail. Nothing else of it is known before it ends.
IN_DETAIL = 1 << 16
_CALLEE_MASK = IN_DETAIL - 1

_ROW_BITS = 6
GENERATION_STEP = 1 << _ROW_BITS
_GENERATIONS = 1 << 26
_GENERATION_MASK = _GENERATIONS - 1
# What of an id is the same for all calls that occupy one row in turn; for whole columns of ids.
KEY_MASK = (1 << 64) - 1 - (_GENERATION_MASK << _ROW_BITS)
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


class OpenRow(NamedTuple):
    """A row's words while its call is open."""

    id: int
    start_ns: int
    parent: int
    callee: int
    in_detail: bool = False


class RowState(NamedTuple):
    """What one reading of a block says."""

    begun: int
    lost: int
    rows: list[tuple[int, int, int, int, int]]


class InFlightReader:
    """One block as another process reads it; the collector's thread."""

    __slots__ = ("_first", "_last", "_words", "block")

    def __init__(self, words: memoryview, offset: int, block: int) -> None:
        self._words = words
        self._first = offset // 8
        self._last = b""
        self.block = block

    def has_changed(self) -> bool:
        """True when any row differs from the last `read`: the worker began or lost a call."""
        return self._look() != self._last

    def read(self) -> RowState:
        """Begun and lost calls, and the rows that were ever used."""
        self._last = self._look()
        words = memoryview(self._last).cast("Q").tolist()
        ids = words[0::ROW_WORDS]
        losses = words[LOSS::ROW_WORDS]
        used = [
            (call_id, words[at + START], words[at + PARENT], words[at + CALLEE], words[at + LOSS])
            for at, call_id in zip(range(0, len(words), ROW_WORDS), ids, strict=True)
            if generation_of(call_id) and block_of(call_id) == self.block
        ]
        return RowState(sum(_begun(row) for row in used), _lost(losses), used)

    def _look(self) -> bytes:
        return self._words[self._first : self._first + ROWS * ROW_WORDS].tobytes()

    def has_left(self, call_id: int) -> bool:
        """True when the row of *call_id* says that it was lost or that another call is in it."""
        at = self._first + (call_id & ROWS - 1) * ROW_WORDS
        lost = self._words[at + LOSS] & _GENERATION_MASK == generation_of(call_id)
        return bool(lost or self._words[at] != call_id)


def _begun(row: tuple[int, int, int, int, int]) -> int:
    # The words are read in order: a call may begin and be lost between its id and its loss.
    return max(generation_of(row[0]), row[4] & _GENERATION_MASK)


def _lost(losses: list[int]) -> int:
    return sum(loss >> 26 for loss in losses)


def open_calls(state: RowState, ended: dict[int, int]) -> list[OpenRow]:
    """The calls whose generation is newer than the last that ended (by row key) or was lost."""
    found = []
    for call_id, start_ns, parent, callee, loss in state.rows:
        generation = generation_of(call_id)
        if call_id <= ended.get(row_key(call_id), 0) or generation <= loss & _GENERATION_MASK:
            continue
        in_detail = bool(callee & IN_DETAIL)
        found.append(OpenRow(call_id, start_ns, parent, callee_in(callee), in_detail))
    return found
