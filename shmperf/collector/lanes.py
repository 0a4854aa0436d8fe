"""The rings of one worker: how far each is read, which are handed back, and how full they were."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from shmperf.shm.record import SLOT_BYTES
from shmperf.shm.ring import RingReader

__all__ = ["Lane", "Lanes"]

# Rings for which that is a fourth or less are replaced by larger ones, or ring the bell.
_MANY_BYTES = 256 * SLOT_BYTES


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

    def __init__(self) -> None:
        self._lanes: list[Lane] = []
        # Those of which something is read and not yet released.
        self._read: set[Lane] = set()
        self._is_pressed = False
        self._has_half_full = False

    def __iter__(self) -> Iterator[Lane]:
        """All of them; others may come meanwhile."""
        return iter(tuple(self._lanes))

    def add(self, lane: Lane) -> None:
        """A ring that was published."""
        self._lanes.append(lane)
        if lane.reader.unreleased:
            # By a former collector, whose frame has it: the writer may be waiting for it.
            self._read.add(lane)
            self.note(lane)

    def clear(self) -> None:
        """Forget all of them, and release nothing."""
        self._lanes.clear()
        self._read.clear()

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
            self._has_half_full = True

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
        """True when since this was last asked a fourth of a large ring was found full."""
        pressed, self._is_pressed = self._is_pressed, False
        return pressed

    def half_full(self) -> bool:
        """True when what is read and not yet released fills half of a ring."""
        return self._has_half_full

    def release(self) -> None:
        """Hand everything read so far back to the worker; only once it is in the journal."""
        # Their writer has gone on to another ring; what it granted in them is read and journalled.
        # Not before: a ring that is forgotten tells the next frame no position.
        left = [lane for lane in self._lanes if lane.reader.retired]  # point: drain-left
        for lane in self._read:
            lane.reader.release(lane.reader.position)  # point: drain-released
        self._read.clear()
        self._has_half_full = False
        for lane in left:
            self._lanes.remove(lane)  # point: drain-lane-gone
