"""
Grants and slots of one ring, over any writable buffer: one process writes, one other reads.

    offset 0            128                256                       256 + slots × 256
           ┌─────────────┬──────────────────┬────────┬────────┬──────────┐
           │ head        │ retired_at       │ slot 0 │ slot 1 │ …        │
           └─────────────┴──────────────────┴────────┴────────┴──────────┘
             reader only   writer only        writer only

Positions count bytes and never repeat. The slot at position p lies p modulo the ring's size behind
the first; positions start at one ring size, so fresh memory, all zeros, matches none. A slot holds
a record when its last word equals the position that the reader expects there.

    free ──grant──► granted ──take and store──► committed ──read──► read ──release──► free
          writer             writer                     reader           reader

The writer takes positions from a *grant*: an iterator over a range known to be released, shared by
the threads of its process. Taking and storing is one step that neither a signal handler nor
another thread gets into:

    for position in grant:
        PUBLISHED.pack_into(buffer, position + shift, …, position)
        break
    else: …  # exhausted: ask for another grant

A call is followed by a check for signals and thread switches; ``for`` is not. So nothing may be
called between the two but ``pack_into`` itself, and offset and word are inline expressions.
``pack_into`` clears the slot before it writes: harmless, since only a granted slot is written, and
no mix of an old position's bytes and zeros equals a later position. What makes the position visible
last on any machine is in `fence`.

    killed after …           the reader sees            lost
    nothing taken            nothing                    –
    taken, part of a store   an old position: a hole    the call, which was in flight: aborted
    stored                   the record                 –

A living writer whose store has failed (no memory for a number) fills the hole with a later record:
it finds the position again among those that were taken. What it can't fill is passed only once the
writer is dead; until then the ring fills up and is replaced.

Why not a flag in the payload: one copy's bytes arrive in any order. Why not a tail word that the
writer advances: two threads would have to agree on it, and pure Python has no compare-and-swap.
Why not bare sequence numbers: byte positions spare the writer a shift and a mask.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import length_hint, or_, sub
from typing import NamedTuple

from shmperf.compiled.chosen import hot

from .fence import REORDERS, fence
from .inflight import blocks_of
from .record import FAILURES, SLOT, SLOT_BYTES, STATUS_BITS, Slot, is_intact

__all__ = [
    "HEADER_BYTES",
    "READ_SLOTS",
    "Batch",
    "Grant",
    "Marks",
    "RingReader",
    "RingWriter",
    "Spread",
    "ring_bytes",
]

HEADER_BYTES = 256
_HEAD, _RETIRED_AT = 0, 16
_SLOT_WORDS = SLOT_BYTES // 8
READ_SLOTS = 1024
_HALVED_SLOTS = 1024
# So many slots are copied whole sooner than they are taken apart by columns.
_FEW_SLOTS = 16
_LAST_POSITION = 1 << 63
NO_POSITIONS: Iterator[int] = iter(())
# Times come from other processes; what is longer than this is not.
_LONGEST_NS = 1 << 62
# The least and the greatest duration, the first and the last end, the greatest parent, and how many
# failed.
Spread = tuple[int, int, int, int, int, int]


class Grant(NamedTuple):
    """Released positions that a writer may fill; slot of position p at offset p + shift."""

    positions: Iterator[int]
    shift: int


def ring_bytes(slots: int) -> int:
    """Memory that a ring of *slots* slots takes."""
    return HEADER_BYTES + slots * SLOT_BYTES


def _slot_start(position: int) -> int:
    """The start of a slot at or before *position*, which may be any word."""
    position = min(position, _LAST_POSITION)
    return position - position % SLOT_BYTES


class RingWriter:
    """The writing side; the process that owns the memory, under its refill lock."""

    __slots__ = (
        "_granted",
        "_head_word",
        "_origin",
        "_retired_word",
        "_spare",
        "_words",
        "current",
        "in_halves",
        "may_have_hole",
        "size",
        "slots",
    )

    def __init__(self, words: memoryview, offset: int, slots: int) -> None:
        self._words = words
        self._head_word = offset // 8 + _HEAD
        self._retired_word = offset // 8 + _RETIRED_AT
        self._origin = offset + HEADER_BYTES
        self.slots = slots
        self.size = slots * SLOT_BYTES
        self.in_halves = slots >= _HALVED_SLOTS
        self._granted = self.size
        self.current = self._spare = Grant(NO_POSITIONS, 0)
        # Set by whoever was struck as it stored; the next record looks for what that has left.
        self.may_have_hole = False

    def grant(self) -> Grant | None:
        """
        The next released positions up to the end of the lap, or None while the ring is full.

        Where ``in_halves``, at most half of the ring, so that its filling up is noticed in time;
        small rings, for which larger ones come, are granted whole. It is the ``current`` grant from
        then on. Only when the last one is exhausted. A head outside what was granted is not
        believed.
        """
        head = self._words[self._head_word] or self.size
        start = self._granted
        if head % SLOT_BYTES or not start - self.size <= head <= start:
            return None
        lap = start - start % self.size
        most = self.size // 2 if self.in_halves else self.size
        end = min(head + self.size, lap + self.size, start + most)
        if end <= start:
            return None
        grant = Grant(iter(range(start, end, SLOT_BYTES)), self._origin - lap)
        # Two stores that no signal handler gets between: a range that nobody holds is a hole.
        self.current, self._granted = grant, end  # point: ring-grant
        return grant

    @property
    def is_pressed(self) -> bool:
        """True when more than half of the ring is granted and not released."""
        return self._granted - (self._words[self._head_word] or self.size) > self.size // 2

    def has_hole(self) -> bool:
        """True when the slot that the reader waits for is not committed, but the next one is."""
        head = self._words[self._head_word] or self.size
        return not self._is_committed(head) and self._is_committed(head + SLOT_BYTES)

    def spare(self) -> Grant | None:
        """
        What a failed store has left: a position taken and not committed; None without one.

        Taking and storing is one step, so a position that was taken and is not committed is a hole.
        It is handed out once, to whoever comes first, and again when that store has failed, too.
        """
        self.may_have_hole = False
        if not length_hint(self._spare.positions):
            self._spare = self._hole()
        self.may_have_hole = bool(length_hint(self._spare.positions))
        return self._spare if self.may_have_hole else None

    def _hole(self) -> Grant:
        taken = self._granted - length_hint(self.current.positions) * SLOT_BYTES
        head = self._words[self._head_word] or self.size
        first = _slot_start(max(head, self._granted - self.size, self.size))
        for position in range(first, taken, SLOT_BYTES):
            if not self._is_committed(position):
                return Grant(iter((position,)), self._origin + position % self.size - position)
        return Grant(NO_POSITIONS, 0)

    def _is_committed(self, position: int) -> bool:
        word = (self._origin + position % self.size) // 8 + _SLOT_WORDS - 1
        return bool(self._words[word] == position)

    def retire(self) -> None:
        """No further grant: the reader drains what was granted and then forgets the ring."""
        self._words[self._retired_word] = self._granted  # point: ring-retire


class Batch:
    """
    Slots by columns: ids, parents, starts, ends and meta words, in the order of their positions.

    Bodies, the larger part by far, stay in the ring until `newest` copies those that are wanted.
    The compiled path has one of its own, of the same methods.
    """

    __slots__ = ("_durations", "_span", "ends", "ids", "metas", "parents", "starts")

    def __init__(
        self, columns: Sequence[Sequence[int]], span: Callable[[int, int], list[Slot]]
    ) -> None:
        """*span* copies the slots from one index up to another."""
        self.ids, self.parents, self.starts, self.ends, self.metas = columns
        self._span = span
        self._durations: list[int] | None = None

    @classmethod
    def of(cls, slots: list[Slot]) -> Batch:
        """*slots* that have been copied already."""
        columns = tuple(zip(*slots, strict=True))[:5] if slots else ((),) * 5
        return cls(columns, lambda first, last: slots[first:last])

    def __len__(self) -> int:
        """How many slots."""
        return len(self.ids)

    def __iter__(self) -> Iterator[Slot]:
        """All slots, whole."""
        return iter(self.newest(-1))

    def newest(self, limit: int) -> list[Slot]:
        """The last *limit* slots, whole; -1 for all. Only until the ring is released."""
        count = len(self)
        return self._span(0 if limit < 0 else max(0, count - limit), count)

    def at(self, index: int) -> Slot:
        """One slot, whole. Only until the ring is released."""
        return self._span(index, index + 1)[0]

    def all_flags(self) -> int:
        """The union of the meta words."""
        return reduce(or_, self.metas, 0)

    def blocks(self) -> set[int]:
        """The blocks of rows that the ids belong to."""
        return blocks_of(self.ids)

    def durations(self) -> list[int]:
        """What each call took: nothing where its end is before its start, and bounded."""
        durations = self._durations
        if durations is None:
            durations = list(map(sub, self.ends, self.starts))
            if min(durations) < 0 or max(durations) > _LONGEST_NS:
                durations = [min(max(0, duration), _LONGEST_NS) for duration in durations]
            self._durations = durations
        return durations

    def spread(self) -> Spread:
        """What a look at all of them tells, of a batch that is not empty."""
        durations, failures = self.durations(), 0
        if self.all_flags() & STATUS_BITS:
            failures = sum(meta & STATUS_BITS in FAILURES for meta in self.metas)
        ends, parent = self.ends, max(self.parents)
        return min(durations), max(durations), ends[0], ends[-1], parent, failures


_EMPTY = Batch.of([])


class RingReader:
    """
    The reading side; the collector's thread.

    Nothing that the writer stores can make it read outside the ring.
    """

    __slots__ = (
        "_buffer",
        "_head_word",
        "_next_word",
        "_origin",
        "_released",
        "_retired_word",
        "_sealed",
        "_words",
        "position",
        "size",
    )

    def __init__(
        self,
        memory: tuple[memoryview, memoryview],
        offset: int,
        slots: int,
        *,
        position: int = 0,
        sealed: bool = False,
    ) -> None:
        """
        The ring at *offset* of *memory*, the same bytes once as bytes and once as words.

        *position* is where a former reader stopped.
        """
        self._buffer, self._words = memory
        self._head_word = offset // 8 + _HEAD
        self._retired_word = offset // 8 + _RETIRED_AT
        self._origin = offset + HEADER_BYTES
        self._sealed = sealed
        self.size = slots * SLOT_BYTES
        head = _slot_start(self._words[self._head_word])
        self.position = max(head, _slot_start(position), self.size)
        self._released = max(head, self.size)
        self._aim()

    def has_record(self) -> bool:
        """True when the next slot is committed."""
        return bool(self._words[self._next_word] == self.position)

    def read(self, most: int = READ_SLOTS) -> Batch:
        """
        The committed slots from here on, at most *most* and not beyond the end of the lap.

        Advances the position; the slots stay the reader's until `release`.
        """
        if self.is_compiled:
            found: Batch | None = hot.read_slots(self._words, *self.mark(most))
            if found is None:
                return _EMPTY
            self.advance(len(found))
            return found
        here = self.position % self.size
        count = self._committed(min(most, (self.size - here) // SLOT_BYTES))
        if REORDERS:
            # The positions were read first: behind this the payload that they released is visible.
            fence()
        if count <= _FEW_SLOTS:
            return self._few(here, count) if count else _EMPTY
        start, end = self._origin + here, self._origin + here + count * SLOT_BYTES
        if self._sealed:
            batch = Batch.of(self._intact(self._slots(start, end)))
        else:
            words, stop = self._words, end // 8
            batch = Batch(
                [words[at:stop:_SLOT_WORDS].tolist() for at in range(start // 8, start // 8 + 5)],
                lambda first, last: self._slots(
                    start + first * SLOT_BYTES, start + last * SLOT_BYTES
                ),
            )
        self.advance(len(batch))
        return batch

    @property
    def is_compiled(self) -> bool:
        """True where C reads it: where no checksum tells which slots are whole."""
        return hot is not None and not self._sealed

    def mark(self, most: int = READ_SLOTS) -> tuple[int, int, int]:
        """What is read next: the word where it begins, at most so many slots, the position."""
        count = min(most, (self.size - self.position % self.size) // SLOT_BYTES)
        return self._next_word + 1 - _SLOT_WORDS, count, self.position

    def _few(self, here: int, count: int) -> Batch:
        """What most readings find where calls are few."""
        start = self._origin + here
        slots = list(SLOT.iter_unpack(self._buffer[start : start + count * SLOT_BYTES]))
        if self._sealed:
            slots = self._intact(slots)
        self.advance(len(slots))
        return Batch.of(slots)

    def advance(self, slots: int) -> None:
        """Move on by *slots* slots, or back by a negative number not yet released."""
        self.position += slots * SLOT_BYTES
        self._aim()

    def is_past_hole(self) -> bool:
        """True when a slot behind an uncommitted one is committed; of a dead writer's ring only."""
        return any(self._hole_at(ahead) for ahead in range(1, self.size // SLOT_BYTES))

    def release(self, position: int) -> None:
        """Hand everything before *position* back to the writer."""
        if REORDERS:
            # It is written over as soon as this is seen: what was read of it has to be there.
            fence()
        self._words[self._head_word] = self._released = position  # point: ring-release

    @property
    def unreleased(self) -> int:
        """Bytes read and not yet released."""
        return self.position - self._released

    @property
    def retired(self) -> bool:
        """True when the writer has left this ring and nothing of it is unread."""
        end = self._words[self._retired_word]
        return bool(end and self.position >= end)

    def _aim(self) -> None:
        self._next_word = (self._origin + self.position % self.size) // 8 + _SLOT_WORDS - 1

    def _hole_at(self, ahead: int) -> bool:
        position = self.position + ahead * SLOT_BYTES
        word = (self._origin + position % self.size) // 8 + _SLOT_WORDS - 1
        return bool(self._words[word] == position)

    def _slots(self, start: int, end: int) -> list[Slot]:
        return list(SLOT.iter_unpack(bytes(self._buffer[start:end])))

    def _committed(self, count: int) -> int:
        words, first, position = self._words, self._next_word, self.position
        few = min(count, _FEW_SLOTS)
        for n in range(few):
            if words[first + n * _SLOT_WORDS] != position + n * SLOT_BYTES:
                return n
        if count == few:
            return count
        # Where there is no hole this is the answer already; where there is one, it is found below.
        count = bisect_left(
            range(count),
            True,
            key=lambda n: words[first + n * _SLOT_WORDS] != position + n * SLOT_BYTES,
        )
        seen = self._words[first : first + count * _SLOT_WORDS : _SLOT_WORDS].tolist()
        wanted = range(self.position, self.position + count * SLOT_BYTES, SLOT_BYTES)
        if seen == list(wanted):
            return count
        return next(n for n, (a, b) in enumerate(zip(seen, wanted, strict=True)) if a != b)

    def _intact(self, slots: list[Slot]) -> list[Slot]:
        for number, slot in enumerate(slots):
            if not is_intact(slot):
                return slots[:number]
        return slots


class Marks:
    """
    Where each of several rings of one segment is read on: one look finds what is new in any.

    Where calls are few and tools many, most of the time would go into finding that out ring by
    ring. Only of rings that C reads.
    """

    def __init__(self, words: memoryview, readers: Sequence[RingReader]) -> None:
        """*readers* of rings in these *words*; each is known by its place from now on."""
        self._words = words
        self._readers = readers
        self._marks = array("Q", [word for reader in readers for word in reader.mark()])

    def read(self) -> list[tuple[int, Batch]]:
        """
        Committed slots of each ring that has some, by place; no position is advanced.

        At most as many as `RingReader.read` would give.
        """
        found: list[tuple[int, Batch]] = hot.read_marked(self._words, self._marks)
        return found

    def aim(self, place: int) -> None:
        """The position of the reader at that *place* has changed."""
        at = 3 * place
        self._marks[at], self._marks[at + 1], self._marks[at + 2] = self._readers[place].mark()
