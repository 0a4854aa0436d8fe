"""
What called us from elsewhere: trace contexts (W3C) beside the records, written once each.

A call that somebody else's span has led to can't name it as its parent: an id has eight bytes, a
trace and its span twenty-four. So the process that takes a context up gives it an id of a range of
its own, and writes down here what that stands for; calls have that id as their parent.

    id     1 (bit) · block (31) · generation (19) · place (13), from the high end
    entry  id · trace (2 words) · span · checksum

The block is that of the first rows of the process, so no two processes of a storage give the same
id. Entries come in extents of `PLACES`, and a place is used again only when all others that are
free have been: what has ended is drained long before. Place 0 is the process's own context, from
its environment, which stays; no call names it, all calls without a parent belong to it.

    the reader finds …         and takes it as
    the id and its checksum    the context
    another id                 the place was used again: the context is lost, by count
    a checksum that is wrong   half of a store, or damage: the same

Why not with each record: most calls have no such parent, and those of one request all the same.
Why not in the ring, before the first call: a ring that is full drops what comes next, and a child
in another tool's ring may be drained before.
"""

from __future__ import annotations

from binascii import crc32
from collections import deque
from struct import Struct

import msgspec

from .inflight import FIRST_UNRECORDED, MOST_BLOCKS, block_of

__all__ = [
    "ENTRY_BYTES",
    "FIRST_REMOTE",
    "MOST_EXTENTS",
    "PLACES",
    "Remote",
    "RemoteReader",
    "RemoteWriter",
    "is_remote",
    "remote_block",
]

# Above all ids of calls, and below those that stand for no record.
_BLOCK_SHIFT = 32
FIRST_REMOTE = MOST_BLOCKS << _BLOCK_SHIFT
_BLOCK_MASK = MOST_BLOCKS - 1

_ENTRY = Struct("@Q16s8sQ")
ENTRY_BYTES = _ENTRY.size
PLACES = 1024
MOST_EXTENTS = 8
_PLACE_BITS = 13
_PLACE_MASK = (1 << _PLACE_BITS) - 1
_GENERATION_MASK = (1 << _BLOCK_SHIFT - _PLACE_BITS) - 1
# So few places must be left before there is another extent.
_FEW = PLACES // 2


class Remote(msgspec.Struct, frozen=True):
    """A span of somebody else: sixteen bytes of its trace, eight of its own."""

    trace: bytes
    span: bytes


def is_remote(parent: int) -> bool:
    """True when *parent* stands for a context from elsewhere, and is no call."""
    return FIRST_REMOTE <= parent < FIRST_UNRECORDED


def remote_block(context_id: int) -> int:
    """The block of rows of the process that has given *context_id*."""
    return block_of(context_id) & _BLOCK_MASK


class RemoteWriter:
    """The contexts of one process; any of its threads, but for `add`."""

    __slots__ = ("_buffer", "_first", "_free", "_ids", "_offsets")

    def __init__(self, buffer: memoryview, block: int) -> None:
        """In *buffer*; *block* is that of the process's first rows."""
        self._buffer = buffer
        self._first = FIRST_REMOTE | (block & _BLOCK_MASK) << _BLOCK_SHIFT
        # By place: the id that stands there. Of places that are free, the one longest so first.
        self._ids: list[int] = []
        self._free: deque[int] = deque()
        self._offsets: list[int] = []

    @property
    def extents(self) -> int:
        """How many extents it has."""
        return len(self._offsets)

    def wants_more(self) -> bool:
        """True when few places are free, and there may be another extent."""
        return len(self._free) < _FEW and len(self._offsets) < MOST_EXTENTS

    def add(self, offset: int) -> None:
        """Another extent, which begins there; under the process's guard."""
        first = len(self._ids)
        self._ids += [self._first | place for place in range(first, first + PLACES)]
        self._offsets.append(offset)
        self._free.extend(range(max(1, first), first + PLACES))

    def put_own(self, remote: Remote) -> None:
        """Write down the process's own context, once, before any other."""
        self._store(0, self._ids[0], remote)

    def put(self, remote: Remote) -> int:
        """The id that stands for *remote* until it is given back; 0 when no place is free."""
        try:
            place = self._free.popleft()
        except IndexError:
            return 0
        former = self._ids[place]
        generation = (former >> _PLACE_BITS) + 1 & _GENERATION_MASK
        context_id = self._first | generation << _PLACE_BITS | place
        # point below: remote-store
        self._store(place, context_id, remote)
        self._ids[place] = context_id  # point: remote-stored
        return context_id

    def give_back(self, context_id: int) -> None:
        """Nothing more begins under *context_id*; what has can be read until its place is used."""
        if self.holds(context_id):
            self._free.append(context_id & _PLACE_MASK)

    def holds(self, context_id: int) -> bool:
        """True while *context_id*, of this process, stands in its place."""
        place = context_id & _PLACE_MASK
        return 0 < place < len(self._ids) and self._ids[place] == context_id

    def find(self, context_id: int) -> Remote | None:
        """What *context_id* stands for, if that is still here."""
        return _read(self._buffer, self._offsets, context_id)

    def _store(self, place: int, context_id: int, remote: Remote) -> None:
        extent, row = divmod(place, PLACES)
        at = self._offsets[extent] + row * ENTRY_BYTES
        check = _check(context_id, remote)
        _ENTRY.pack_into(self._buffer, at, context_id, remote.trace, remote.span, check)


class RemoteReader:
    """The contexts of one process as others read them; nothing that stands there is believed."""

    __slots__ = ("_buffer", "_offsets")

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._offsets: list[int] = []

    def add(self, offset: int) -> None:
        """Another extent, which begins there; they come in their order."""
        if len(self._offsets) < MOST_EXTENTS:
            self._offsets.append(offset)

    @property
    def is_used(self) -> bool:
        """True when there may be any."""
        return bool(self._offsets)

    def find(self, context_id: int) -> Remote | None:
        """What *context_id* stands for; None where that is no longer, or never was, here."""
        return _read(self._buffer, self._offsets, context_id)

    def own(self, block: int) -> Remote | None:
        """The process's own context; *block* is that of its first rows."""
        return self.find(FIRST_REMOTE | (block & _BLOCK_MASK) << _BLOCK_SHIFT)

    def all(self) -> dict[int, Remote]:
        """Every context that is here, by its id."""
        found: dict[int, Remote] = {}
        for offset in self._offsets:
            rows = self._buffer[offset : offset + PLACES * ENTRY_BYTES]
            for context_id, trace, span, check in _ENTRY.iter_unpack(rows):
                remote = Remote(trace, span)
                if is_remote(context_id) and check == _check(context_id, remote):
                    found[context_id] = remote
        return found


def _read(buffer: memoryview, offsets: list[int], context_id: int) -> Remote | None:
    extent, row = divmod(context_id & _PLACE_MASK, PLACES)
    if extent >= len(offsets):
        return None
    found, trace, span, check = _ENTRY.unpack_from(buffer, offsets[extent] + row * ENTRY_BYTES)
    remote = Remote(trace, span)
    return remote if found == context_id and check == _check(context_id, remote) else None


def _check(context_id: int, remote: Remote) -> int:
    """Of an entry: never 0, as fresh memory is."""
    return crc32(remote.trace + remote.span, context_id & 0xFFFFFFFF) | 1 << 32
