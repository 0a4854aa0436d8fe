"""
What a worker's rows say, kept from look to look: reading costs what has changed since the last one.

A peak of open calls leaves rows behind for the life of its process, most of them never used again.
Looking at one costs the comparison of its block, in C; only rows that differ are taken apart, and
a call that is drained leaves the table by its key.

Between two looks at everything only *warm* blocks are compared: those in which calls have begun or
ended lately. A process takes the row that was given back last, so a call in a cold block means that
every row of the warm ones was taken before, which shows there. What is not seen in between is when
a call in a cold row began; whoever tells somebody of it looks at everything first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from operator import and_

from msgspec.structs import replace

from shmperf.compiled.chosen import hot

from .inflight import KEY_MASK, InFlightReader, OpenRow, RowChange, block_of
from .remote import is_remote
from .ring import Batch

__all__ = ["RowTable"]

_WARM = 8


class RowTable:
    """The in-flight table of one worker; the collector's thread."""

    def __init__(self, ended: dict[int, int]) -> None:
        """*ended* has the last call of each row that a former collector has drained, by its key."""
        self.begun = self.lost = 0
        self.ended = ended
        # Of calls drained since it was last emptied.
        self.newly_ended: dict[int, int] = {}
        self.open: dict[int, OpenRow] = {}
        # By id of an open call: its parent, or the context from elsewhere that it began under.
        self.parents: dict[int, int] = {}
        # How many calls of each line of the name table are open.
        self.callees: dict[int, int] = {}
        self._readers: dict[int, InFlightReader] = {}
        # How many looks at everything a block stays warm for.
        self._warm: dict[int, int] = {}
        self._is_due = True

    def add(self, reader: InFlightReader) -> None:
        """A further block; one whose number is there already is none of ours."""
        self._readers.setdefault(reader.block, reader)
        self._warm[reader.block] = _WARM

    def look_everywhere(self) -> None:
        """The next look and the next reading are at everything; for who comes regularly."""
        self._is_due = True
        self._warm = {block: left - 1 for block, left in self._warm.items() if left > 1}

    @property
    def has_cold(self) -> bool:
        """True when there are blocks that the next reading may leave out."""
        return len(self._warm) < len(self._readers)

    def has_changed(self) -> bool:
        """True when a call has begun or was lost since the last `read`, where it looked."""
        found = any(reader.has_changed() for reader in self._looked_at())
        self._is_due = self._is_due and found
        return found

    def read(self, *, everywhere: bool = False) -> None:
        """Take up what has changed; *everywhere* before anybody is told of it."""
        self._is_due = self._is_due or everywhere
        for reader in self._looked_at():
            if changes := reader.changes():
                self._warm[reader.block] = _WARM
                for change in changes:
                    self._take(change)
        self._is_due = False

    def _looked_at(self) -> list[InFlightReader]:
        if self._is_due:
            return list(self._readers.values())
        return [self._readers[block] for block in self._warm]

    def parents_now(self) -> dict[int, int]:
        """By id of each call that is open at this moment, read or not: what it began under."""
        return {
            row.row.id: row.row.parent
            for reader in self._readers.values()
            for row in reader.used()
            if row.may_be_open and row.row.id > self.ended.get(row.key, 0)
        }

    def end_all(self, batches: list[Batch]) -> None:
        """The calls of these *batches* are drained."""
        if hot is not None and all(type(batch) is hot.Batch for batch in batches):
            self._end(hot.last_of_rows(batches))
        else:
            self.end(list(chain.from_iterable([batch.ids for batch in batches])))

    def end(self, ids: Sequence[int]) -> None:
        """The calls of these *ids* are drained."""
        # Of a row's ids the last one counts: those of several tools come one tool after the other.
        ids = sorted(ids)
        self._end(dict(zip(map(and_, ids, repeat(KEY_MASK)), ids, strict=False)))

    def _end(self, last: dict[int, int]) -> None:
        """By its key, the *last* call of each row that calls were drained of."""
        ended, opened = self.ended, self.open
        for key, call_id in last.items():
            if call_id > ended.get(key, 0):
                ended[key] = self.newly_ended[key] = call_id
            if key in opened and opened[key].id <= call_id:
                self._close(key)
                self._warm[block_of(key)] = _WARM

    def has_left(self, call_id: int) -> bool:
        """True when the row of *call_id* says that it was lost or that another call is in it."""
        reader = self._readers.get(block_of(call_id))
        return reader is None or reader.has_left(call_id)

    def _take(self, change: RowChange) -> None:
        self.begun += change.begun
        self.lost += change.lost
        key, row = change.key, change.row
        if key in self.open:
            self._close(key)
        if change.may_be_open and row.id > self.ended.get(key, 0):
            self.parents[row.id] = row.parent
            # One that somebody else's span has led to is shown as a root.
            self.open[key] = replace(row, parent=0) if is_remote(row.parent) else row
            self.callees[row.callee] = self.callees.get(row.callee, 0) + 1

    def _close(self, key: int) -> None:
        row = self.open.pop(key)
        self.parents.pop(row.id, None)
        left = self.callees[row.callee] - 1
        if left:
            self.callees[row.callee] = left
        else:
            del self.callees[row.callee]
