"""The rings of one worker: how far each is read, which are handed back, and how full they were."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from shmperf.shm.record import SLOT_BYTES
from shmperf.shm.ring import Batch, Marks, RingReader

__all__ = ["Lane", "Lanes"]

# Rings for which that is a fourth or less are replaced by larger ones, or ring the bell.
_MANY = 256
_MANY_BYTES = _MANY * SLOT_BYTES


class Lane:
    """A ring and the tool whose records lie in it; None for the shared one."""

    __slots__ = ("began_at", "offset", "reader", "tool")

    def __init__(self, reader: RingReader, offset: int, tool: str | None) -> None:
        self.reader = reader
        # Its position when the present pass came to it, or the last one.
        self.began_at = reader.position
        self.offset = offset
        self.tool = tool


class Lanes:
    """Every ring that a worker uses; the collector's thread."""

    def __init__(self, words: memoryview) -> None:
        """Rings in these *words*, which are their worker's."""
        self._words = words
        self._lanes: list[Lane] = []
        # Those that C looks at together, with where each is read on, and all others.
        self._together: list[Lane] = []
        self._marks: Marks | None = None
        self._alone: list[Lane] = []
        self._have_changed = True
        # Those of which something is read and not yet released.
        self._read: set[Lane] = set()
        self._unreleased = 0
        self._is_pressed = False
        self._wants_release = False

    def __iter__(self) -> Iterator[Lane]:
        """All of them; others may come meanwhile."""
        return iter(tuple(self._lanes))

    def add(self, lane: Lane) -> None:
        """A ring that was published."""
        self._lanes.append(lane)
        self._have_changed = True
        if lane.reader.unreleased:
            # By a former collector, whose frame has it: the writer may be waiting for it.
            self._read.add(lane)
            self.note(lane)

    def clear(self) -> None:
        """Forget all of them, and release nothing."""
        self._lanes.clear()
        self._read.clear()
        self._have_changed = True

    def take_new(self) -> Iterator[tuple[Lane, Batch | None]]:
        """
        Every ring that has a record, to be read from, each behind `begin`.

        With the first of its slots, past which it has been advanced, where all rings were looked
        at together; what is shared, where a part may be left for later, comes behind these.
        """
        marks = self._marks
        if self._have_changed or marks is None:
            marks = self._mark()
        # Where this ends in the middle none are left, and they are made anew: of the positions.
        self._marks = None
        together, alone = self._together, self._alone
        for place, batch in marks.read() if together else ():
            lane = together[place]
            self.begin(lane)
            lane.reader.advance(len(batch))
            yield lane, batch
            marks.aim(place)
        self._marks = marks
        for lane in alone:
            if lane.reader.has_record():
                self.begin(lane)
                yield lane, None

    def take_each(self) -> Iterator[tuple[Lane, Batch | None]]:
        """Every ring, with or without a record: nobody writes any more."""
        self._marks = None
        for lane in self:
            self.begin(lane)
            yield lane, None

    def begin(self, lane: Lane) -> None:
        """*lane* is about to be read from: it is to be released."""
        self._read.add(lane)
        lane.began_at = lane.reader.position

    def note(self, lane: Lane) -> None:
        """Some slots of it were read."""
        reader = lane.reader
        read = reader.position - lane.began_at
        if read >= _MANY_BYTES and read * 4 >= reader.size:
            self._is_pressed = True
        if reader.unreleased * 2 >= reader.size:
            self._wants_release = True

    def note_all(self, slots: int) -> None:
        """
        So many *slots* were read in a whole pass.

        Where many small rings fill at once they grow at once, and memory for that comes to an end
        before any of them rings the bell; what is read and not released makes them smaller still.
        """
        self._unreleased += slots
        if self._unreleased >= _MANY:
            size = sum(lane.reader.size for lane in self._lanes) // SLOT_BYTES
            self._is_pressed = self._is_pressed or slots * 2 >= size
            self._wants_release = self._wants_release or self._unreleased * 3 >= size

    def has_record(self, tools: Collection[str]) -> bool:
        """True when a record waits in a ring of one of *tools*, or in one that is shared."""
        return any(
            lane.reader.has_record()
            for lane in self._lanes
            if lane.tool is None or lane.tool in tools
        )

    def positions(self) -> dict[int, int]:
        """Where each ring in use is read up to, by its offset."""
        return {lane.offset: lane.reader.position for lane in self._lanes}

    def take_pressure(self) -> bool:
        """True when a fourth of a large ring or half of all was full, since this was last asked."""
        pressed, self._is_pressed = self._is_pressed, False
        return pressed

    def wants_release(self) -> bool:
        """True when what is read and not yet released fills half of a ring, or a third of all."""
        return self._wants_release

    def release(self) -> None:
        """Hand everything read so far back to the worker; only once it is in the journal."""
        # Their writer has gone on to another ring; what it granted in them is read and journalled.
        # Not before: a ring that is forgotten tells the next frame no position.
        left = [lane for lane in self._lanes if lane.reader.retired]  # point: drain-left
        for lane in self._read:
            lane.reader.release(lane.reader.position)  # point: drain-released
        self._read.clear()
        self._unreleased = 0
        self._wants_release = False
        for lane in left:
            self._have_changed = True
            self._lanes.remove(lane)  # point: drain-lane-gone

    def _mark(self) -> Marks:
        self._have_changed = False
        self._together, self._alone = [], []
        for lane in self._lanes:
            is_together = lane.tool is not None and lane.reader.is_compiled
            (self._together if is_together else self._alone).append(lane)
        return Marks(self._words, [lane.reader for lane in self._together])
