"""
What open calls were called with: a board in shared memory, a cell for each that shows it.

A record is written when its call ends, so of a call that hangs its row alone is there. Who begins a
call that may take long writes its parameters down besides, encoded as a record has them.

    cell   id (8) · checksum (4) · length (2) · kind (2) · body

A cell is taken, written, and only then does the call's id stand in its row; it is given back, as it
is, when the call has ended. Cells come in extents of `CELLS`.

    killed after …                  the reader sees                  and takes it as
    cell taken, nothing stored      a former id, which is not open   nothing
    half of it stored               a checksum that is wrong         nothing
    cell stored, row's id not yet   an id that is in no row          nothing
    row's id stored                 the id of an open call           its parameters
    record stored                   an id that is drained            nothing

Why not in the row: eight words hold no parameters, and every call pays for its row. Why not in the
slot that the record will fill: a slot is taken as it is stored, or a call that hangs would keep a
ring from being released.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Collection, Iterator
from struct import Struct

import msgspec

__all__ = [
    "BOARD_BYTES",
    "CELLS",
    "MOST_BOARDS",
    "MOST_BODY_BYTES",
    "BoardReader",
    "BoardWriter",
    "Shown",
]

_CELL = Struct("@QIHH496s")
_HEAD = Struct("@QIHH")
_SEED = Struct("@QHH")
MOST_BODY_BYTES = _CELL.size - _HEAD.size
CELLS = 32
BOARD_BYTES = CELLS * _CELL.size
# With them 1,024 open calls of a process show their parameters, the others do not.
MOST_BOARDS = 32


class Shown(msgspec.Struct, frozen=True):
    """A body, and the flags that say how to read it."""

    kind: int
    body: bytes


class BoardWriter:
    """The cells of one process; any of its threads, but for `add`."""

    __slots__ = ("_buffer", "_free", "extents", "free")

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._free: list[int] = []
        # Takes one each time: the byte where it begins. IndexError when there is none.
        self.free: Iterator[int] = iter(self._free.pop, 0)
        self.extents = 0

    def wants_more(self) -> bool:
        """True when no cell is free, and there may be another extent."""
        return not self._free and self.extents < MOST_BOARDS

    def add(self, offset: int) -> None:
        """Another extent, which begins there; under the process's guard."""
        self.extents += 1
        self._free += range(offset, offset + BOARD_BYTES, _CELL.size)

    def write(self, cell: int, call_id: int, shown: Shown) -> None:
        """Fill *cell*, for whoever sees that call open."""
        kind, body = shown.kind, shown.body
        check = _check(call_id, kind, body)
        # point below: board-store
        _CELL.pack_into(self._buffer, cell, call_id, check, len(body), kind, body)

    def give_back(self, cell: int) -> None:
        """The call has ended; what stands in *cell* is nobody's any more."""
        self._free.append(cell)  # point: board-free


class BoardReader:
    """The cells of one process as others read them; nothing that stands there is believed."""

    __slots__ = ("_buffer", "_offsets")

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._offsets: list[int] = []

    def add(self, offset: int) -> None:
        """Another extent, which begins there."""
        if len(self._offsets) < MOST_BOARDS:
            self._offsets.append(offset)

    def shown(self, ids: Collection[int]) -> dict[int, Shown]:
        """What the calls of these *ids* show, those that do."""
        found: dict[int, Shown] = {}
        for offset in self._offsets:
            cells = self._buffer[offset : offset + BOARD_BYTES]
            for call_id, check, length, kind, room in _CELL.iter_unpack(cells):
                if call_id in ids and length <= MOST_BODY_BYTES:
                    body = room[:length]
                    if check == _check(call_id, kind, body):
                        found[call_id] = Shown(kind, body)
        return found


def _check(call_id: int, kind: int, body: bytes) -> int:
    return crc32(body, crc32(_SEED.pack(call_id, len(body), kind)))
