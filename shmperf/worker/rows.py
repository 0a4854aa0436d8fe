"""
The rows where this process's open calls stand: taken, added, replaced when their numbers run out.

A ready row is the word where it begins; a call takes the last of `Rows.ready` and puts it back.
Rows come in blocks whose numbers are unique in a storage.
"""

from __future__ import annotations

from collections.abc import Collection

from shmperf.session.session import Session
from shmperf.shm.inflight import CALLEE, ROW_WORDS, ROWS, callee_in, has_spent_row, row_in
from shmperf.shm.segment import Segment

from .guard import Guard

__all__ = ["Rows"]


class Rows:
    """The rows of one process; there are none until it has a session."""

    def __init__(self, guard: Guard) -> None:
        self.ready: list[int] = []
        self._guard = guard
        # Where each block begins, by its number.
        self._blocks: dict[int, int] = {}
        self._session: Session | None = None
        self._segment: Segment | None = None

    def open(self, session: Session, segment: Segment) -> None:
        """The first block, in *segment*."""
        self._session, self._segment = session, segment
        self._add()

    def take(self) -> int:
        """The word where a ready row begins; 0 when there is none and no memory for more."""
        while True:
            try:
                return self.ready.pop()
            except IndexError:
                if not self._guard.run(self._provide, _refuse):
                    return 0

    def _provide(self) -> bool:
        return bool(self.ready) or self._add(len(self._blocks) or 1)

    def _add(self, blocks: int = 1) -> bool:
        if self._session is None or self._segment is None:
            return False
        first = self._session.next_blocks(blocks)
        for block in range(first, first + blocks):
            rows = self._segment.add_rows(block)
            if rows is None:
                break
            self._blocks[block] = rows[-1]
            self.ready[:0] = rows  # point: rows-ready
        return bool(self.ready)

    def is_open(self, call_id: int, callees: Collection[int]) -> bool:
        """True when *call_id* is a call of one of *callees* that is open in this process."""
        if self._segment is None:
            return False
        words, row = self._segment.words, row_in(self._blocks, call_id)
        return row > 0 and words[row] == call_id and callee_in(words[row + CALLEE]) in callees

    @property
    def words(self) -> memoryview | None:
        """The memory in which they stand; None before they are open."""
        return None if self._segment is None else self._segment.words

    @property
    def blocks(self) -> dict[int, int]:
        """By number of a block, the word where its rows begin."""
        return dict(self._blocks)

    def replace_spent(self) -> None:
        """Put rows of a fresh block in the place of those whose generations run out."""
        if self._segment is None:
            return
        words = self._segment.words
        spent = {b: first for b, first in self._blocks.items() if has_spent_row(words, first)}
        if not spent or not self._add(len(spent)):
            return
        self._blocks = {b: first for b, first in self._blocks.items() if b not in spent}
        length = ROWS * ROW_WORDS
        self._drop({row for first in spent.values() for row in range(first, first + length)})

    def _drop(self, gone: set[int]) -> None:
        for _ in range(len(self.ready)):
            # One row at a time: other threads take and return rows meanwhile.
            try:
                row = self.ready.pop(0)
            except IndexError:
                break
            if row not in gone:
                self.ready.append(row)


def _refuse() -> bool:
    return False
