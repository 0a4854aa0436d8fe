"""
One worker's memory: what lies where in its segment, creating it, and reading it from outside.

    offset 0         4 KiB            2 MiB + 4 KiB  6 MiB + 4 KiB            + budget
           ┌─────────┬────────────────┬──────────────┬────────────────────────┬──────────────┐
           │ header  │ directory:     │ names        │ extents: rows, rings   │ more rows    │
           │         │ 4 words a line │              │                        │              │
           └─────────┴────────────────┴──────────────┴────────────────────────┴──────────────┘

The segment is a large sparse file, mapped once. Every extent is reserved with ``posix_fallocate``
before it is touched, so a full file system is an ENOSPC at that call and never a SIGBUS, and what
has been reserved keeps working. Rings and the first rows fill a budget; directory and names, whose
areas are their bounds, lie outside it, or a program with many tools would have names for a
thousand, and so do the rows of a peak of open calls, whose ends all need slots at once, and what
open calls show. Tools without a name are shown in the header (see `beyond`). The directory only
grows, and its count is stored after the entry:

    CALLEE  number of the callee   a msgpack `Callee`, among the names
    COUNT   number of a callee     calls of its tool that ended without a record, as one word
    ROWS    number of the block    one block of the in-flight table
    RING    number of a callee     the tool's newest ring; SHARED for the ring of all that got none
    REMOTE  their order            contexts from elsewhere (see `remote`)
    BOARD   their order            parameters of open calls (see `board`)

The writer's magic number is stored last, so a segment is complete or is not one.

Why not one ring a process: a noisy tool would push out the records of all others. Why not grow the
mapping: a remapped buffer could move under a thread that is storing.
"""

from __future__ import annotations

import sys

import msgspec

from shmperf.errors import FormatError
from shmperf.files import read_private
from shmperf.stdlib import Path, os, secrets

from .beyond import Beyond, note_beyond, read_beyond
from .board import BOARD_BYTES, MOST_BOARDS, BoardReader, BoardWriter
from .causes import FAULTS, LOSSES, Fault, Loss
from .fence import REORDERS, SEALS, fence
from .inflight import BLOCK_BYTES, InFlightReader, begin_block
from .memory import SHARED_MEMORY, attach_memory, create_memory, remove_memory
from .record import SLOT_BYTES, Callee
from .remote import ENTRY_BYTES, MOST_EXTENTS, PLACES, RemoteReader, RemoteWriter
from .ring import RingReader, RingWriter, ring_bytes

__all__ = [
    "FAULTS",
    "LAYOUT",
    "LOSSES",
    "SHARED",
    "Extent",
    "Fault",
    "Loss",
    "Segment",
    "SegmentReader",
    "begun_unmapped",
    "is_of_another_version",
]

_MAGIC = int.from_bytes(b"shmperf\0", "little")
# Raised with every change of what lies where, or of what it means, and with every change of what a
# session's word and settings mean; a segment, and a session, of another layout is refused.
LAYOUT = 5
_MIB = 1 << 20
_PAGE = 4096
_DIRECTORY = _PAGE
_ENTRY_WORDS = 4
_MOST_ENTRIES = 2 * _MIB // (_ENTRY_WORDS * 8)
_NAMES = _DIRECTORY + 2 * _MIB
_EXTENTS = _NAMES + 4 * _MIB
# Lines of the name table; what the directory holds besides is for rows and rings.
_MOST_NAMES = 50_000
# Beyond so many of them, each adds a slot to the budget of rings.
_MANY_NAMES = 1_000
_SEGMENT_BYTES = 64 * _MIB
# The part of the budget that rows may take, and what a peak may take beside: 262,144 open calls.
_ROWS_SHARE = 32
_PEAK_BYTES = 16 * _MIB
_SHARED_SLOTS = 64
_MOST_SLOTS = 1 << 16
_LONGEST_CALLEE = 1 << 20
# More than any worker counts, and so little that sums of it can be written.
_MOST_COUNT = 1 << 40
_REMOTE_BYTES = PLACES * ENTRY_BYTES

_W_MAGIC, _W_VERSION, _W_SIZE, _W_PID, _W_EPOCH, _W_SEALED, _W_ENTRIES = range(7)
_W_LOSSES, _W_FAULTS = 32, 64

SHARED = 0xFFFF


class Kind:
    """What an extent holds."""

    CALLEE = 1
    ROWS = 2
    RING = 3
    COUNT = 4
    REMOTE = 5
    BOARD = 6


# How many bytes an extent of that kind has, and what its key may be.
_OF_ONE_SIZE: dict[int, tuple[int, range]] = {
    Kind.ROWS: (BLOCK_BYTES, range(1, 1 << 32)),
    Kind.REMOTE: (_REMOTE_BYTES, range(MOST_EXTENTS)),
    Kind.BOARD: (BOARD_BYTES, range(MOST_BOARDS)),
}


class Extent(msgspec.Struct, frozen=True):
    """A directory entry; *size* counts bytes, of a ring its slots."""

    kind: int
    key: int
    offset: int
    size: int


# --- writing -------------------------------------------------------------------------------------


class Segment:
    """
    A worker's own segment; the process that created it, under its refill lock.

    Every method that needs memory returns None where there is none left: what exists goes on.
    """

    def __init__(
        self,
        name: str,
        *,
        budget_bytes: int,
        fallback: Path | None = None,
        pid: int | None = None,
        sealed: bool | None = None,
    ) -> None:
        """Create it; OSError when neither shared memory nor *fallback* can hold it."""
        self._peak = _EXTENTS + -(-budget_bytes // _PAGE) * _PAGE
        size = max(_SEGMENT_BYTES, self._peak + _PEAK_BYTES + _MIB)
        self._memory = create_memory(name, size, fallback)
        self.name = name
        self.buffer = self._memory.buffer
        self.words = self.buffer.cast("Q")
        self.sealed = SEALS if sealed is None else sealed
        rest = _EXTENTS + budget_bytes - _PAGE
        self._bounds = {_DIRECTORY: _NAMES, _NAMES: _EXTENTS, _EXTENTS: rest}
        self._bounds[self._peak] = self._peak + _PEAK_BYTES
        self._reserved = {area: area for area in self._bounds}
        self._rows_left = budget_bytes // _ROWS_SHARE // BLOCK_BYTES
        self._next = dict(self._reserved)
        self._names = 0
        self._fallback = fallback
        self._blobs = 0
        words = self.words
        words[_W_VERSION] = LAYOUT  # point: segment-created
        words[_W_SIZE] = size
        words[_W_PID] = os.getpid() if pid is None else pid
        words[_W_EPOCH] = secrets.randbits(63)  # point: segment-epoch
        words[_W_SEALED] = self.sealed
        words[_W_MAGIC] = _MAGIC  # point: segment-magic
        self.epoch: int = words[_W_EPOCH]

    def add_callee(self, number: int, callee: Callee) -> bool:
        """Publish line *number* of the name table; False without room for it."""
        text = msgspec.msgpack.encode(callee)
        if self._names >= _MOST_NAMES or len(text) > _LONGEST_CALLEE:
            return False
        offset = self._extent(_NAMES, len(text), 8)
        if offset is None:
            return False
        self.buffer[offset : offset + len(text)] = text  # point: callee-text
        if not self._publish(Extent(Kind.CALLEE, number, offset, len(text))):
            return False
        self._names += 1
        if self._names > _MANY_NAMES:
            self._bounds[_EXTENTS] += SLOT_BYTES
        return True

    def add_counter(self, callee: int) -> int | None:
        """The word that counts what of the tool of *callee* is sampled out; it is 0 so far."""
        offset = self._extent(_NAMES, 8, 8)
        # point below: counter-made
        if offset is None or not self._publish(Extent(Kind.COUNT, callee, offset, 8)):
            return None
        return offset // 8

    def add_nameless(self, tool: str) -> bool:
        """Count and show that *tool* has no line in the name table; True for the first of them."""
        is_first = self.beyond() is None
        note_beyond(self.buffer, self.words, self._names, tool)
        self.count_fault(Fault.NO_NAME)
        return is_first

    def add_rows(self, block: int) -> list[int] | None:
        """A further block of the in-flight table: the words of its rows, ready to be taken."""
        area = _EXTENTS if self._rows_left > 0 else self._peak
        offset = self._extent(area, BLOCK_BYTES, 64)
        if offset is None:
            return None
        self._rows_left -= 1
        ready = begin_block(self.words, offset // 8, block)
        return ready if self._publish(Extent(Kind.ROWS, block, offset, BLOCK_BYTES)) else None

    def add_ring(self, callee: int, slots: int) -> RingWriter | None:
        """A new ring for the tool of *callee*."""
        if slots > _MOST_SLOTS:
            return None
        offset = self._extent(_EXTENTS, ring_bytes(slots), 256)
        if offset is None or not self._publish(Extent(Kind.RING, callee, offset, slots)):
            return None
        return RingWriter(self.words, offset, slots)

    def add_shared_ring(self) -> RingWriter | None:
        """The ring of all tools for which there was no memory."""
        return self.add_ring(SHARED, _SHARED_SLOTS)

    def extend(self, writer: RemoteWriter | BoardWriter) -> bool:
        """Give *writer* another extent; False without memory for it, or when it has all."""
        is_board = isinstance(writer, BoardWriter)
        kind, area = (Kind.BOARD, self._peak) if is_board else (Kind.REMOTE, _EXTENTS)
        size, _ = _OF_ONE_SIZE[kind]
        offset = self._extent(area, size, 64) if writer.wants_more() else None
        if offset is None or not self._publish(Extent(kind, writer.extents, offset, size)):
            return False
        writer.add(offset)
        return True

    def count_loss(self, cause: int) -> None:
        """Count one lost call by its cause."""
        self.words[_W_LOSSES + cause] += 1  # point: loss-count

    def count_fault(self, cause: int) -> None:
        """Count one fault by its cause."""
        self.words[_W_FAULTS + cause] += 1  # point: fault-count

    def beyond(self) -> Beyond | None:
        """What stands for the tools without a name; None while every tool has one."""
        return read_beyond(self.buffer, self.words)

    def losses(self) -> dict[str, int]:
        """Lost calls by cause, those that are not zero."""
        return _counters(self.words, _W_LOSSES, LOSSES)

    def faults(self) -> dict[str, int]:
        """Faults by cause, those that are not zero."""
        return _counters(self.words, _W_FAULTS, FAULTS)

    def add_blob(self, content: bytes) -> str | None:
        """Put *content* into shared memory of its own; its name, or None without room."""
        self._blobs += 1
        name = f"{self.name}.{self._blobs:x}"
        try:
            memory = create_memory(name, len(content), self._fallback)
        except OSError:
            return None
        try:
            memory.reserve(0, len(content))  # point: blob-created
            memory.buffer[: len(content)] = content  # point: blob-write
        except OSError:
            remove_memory(name, self._fallback)
            return None
        finally:
            memory.buffer.release()  # point: blob-written
            memory.close()
        return name

    @property
    def used_bytes(self) -> int:
        """What of the budget is reserved: for header, rows and rings."""
        return _PAGE + self._reserved[_EXTENTS] - _EXTENTS

    @property
    def beside_bytes(self) -> int:
        """What directory, names and rows of a peak of open calls take beside the budget."""
        return sum(self._reserved[area] - area for area in (_DIRECTORY, _NAMES, self._peak))

    def close(self) -> None:
        """Let go of the mapping, whose memory stays; no writer of it may be used any more."""
        self.words.release()
        self.buffer.release()
        self._memory.close()

    def _extent(self, area: int, size: int, alignment: int) -> int | None:
        offset = -(-self._next[area] // alignment) * alignment
        if not self._reserve(area, offset + size):
            return None
        self._next[area] = offset + size
        return offset

    def _publish(self, extent: Extent) -> bool:
        count = self.words[_W_ENTRIES]
        at = _DIRECTORY + count * _ENTRY_WORDS * 8
        if not self._reserve(_DIRECTORY, at + _ENTRY_WORDS * 8):
            return False
        entry = extent.kind, extent.key, extent.offset, extent.size
        for number, word in enumerate(entry):  # point: entry-words
            self.words[at // 8 + number] = word
        if REORDERS:
            # A reader passes over an entry that is none once and for all.
            fence()
        self.words[_W_ENTRIES] = count + 1  # point: entry-count
        return True

    def _reserve(self, area: int, end: int) -> bool:
        """Reserve the *area* up to *end*, in whole pages; False at its bound or without memory."""
        start = self._reserved[area]
        end = -(-end // _PAGE) * _PAGE
        if end <= start:
            return True  # point: entry-published
        if end > self._bounds[area]:
            return False
        try:
            self._memory.reserve(start, end - start)  # point: extent-reserve
        except OSError:
            return False
        self._reserved[area] = end  # point: extent-reserved
        return True


def is_supported() -> bool:
    """True where the rules of this module hold: POSIX, and an interpreter with its global lock."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)
    return os.name == "posix" and hasattr(os, "posix_fallocate") and bool(gil())


def _counters(words: memoryview, first: int, names: tuple[str, ...]) -> dict[str, int]:
    counts = words[first : first + len(names)].tolist()
    return {name: min(n, _MOST_COUNT) for name, n in zip(names, counts, strict=True) if n}


# --- reading -------------------------------------------------------------------------------------


class SegmentReader:
    """
    A worker's segment seen from the collector; only its thread.

    Raises SegmentGone or FormatError when attached to what is no segment; afterwards nothing that
    stands in it is believed: an entry that points outside is refused and counted in ``refused``.
    """

    def __init__(self, name: str, *, fallback: Path | None = None) -> None:
        self._memory = attach_memory(name, fallback)
        self.name = name
        self.buffer = self._memory.buffer
        self._fallback = fallback
        self.refused = 0
        self._seen = 0
        try:
            self.words = self._check()
        except FormatError:
            self.buffer.release()
            self._memory.close()
            raise
        self.pid: int = self.words[_W_PID]
        self.epoch: int = self.words[_W_EPOCH]
        self.sealed = bool(self.words[_W_SEALED])

    def has_new_extents(self) -> bool:
        """True when entries were published since `new_extents` was last called."""
        return bool(self._seen < min(self.words[_W_ENTRIES], _MOST_ENTRIES))

    def new_extents(self) -> list[Extent]:
        """Directory entries published since the last call."""
        count = min(self.words[_W_ENTRIES], _MOST_ENTRIES)
        if REORDERS:
            fence()
        found = []
        for number in range(self._seen, count):
            at = (_DIRECTORY // 8) + number * _ENTRY_WORDS
            extent = Extent(*self.words[at : at + _ENTRY_WORDS].tolist())
            if self._is_sound(extent):
                found.append(extent)
            else:
                self.refused += 1
        self._seen = max(self._seen, count)
        return found

    def callee(self, extent: Extent) -> Callee | None:
        """The line of the name table in *extent*, or None when it is damaged."""
        text = bytes(self.buffer[extent.offset : extent.offset + extent.size])
        try:
            return msgspec.msgpack.decode(text, type=Callee)
        except (msgspec.MsgspecError, ValueError):
            self.refused += 1
            return None

    def count(self, extent: Extent) -> int:
        """What the counter in *extent* says now."""
        return min(self.words[extent.offset // 8], _MOST_COUNT)

    def rows(self, extent: Extent) -> InFlightReader:
        """A reader of the block in *extent*."""
        return InFlightReader(self.words, extent.offset, extent.key)

    def remotes(self) -> RemoteReader:
        """A reader of its contexts from elsewhere, which is told of each extent."""
        return RemoteReader(self.buffer)

    def board(self) -> BoardReader:
        """A reader of what its open calls show, which is told of each extent."""
        return BoardReader(self.buffer)

    def ring(self, extent: Extent, position: int = 0) -> RingReader:
        """A reader of the ring in *extent*, from the greater of its head and *position*."""
        memory = (self.buffer, self.words)
        return RingReader(memory, extent.offset, extent.size, position=position, sealed=self.sealed)

    def beyond(self) -> Beyond | None:
        """What stands for the tools without a name; None while every tool has one."""
        return read_beyond(self.buffer, self.words)

    def losses(self) -> dict[str, int]:
        """Lost calls by cause."""
        return _counters(self.words, _W_LOSSES, LOSSES)

    def faults(self) -> dict[str, int]:
        """Faults by cause."""
        return _counters(self.words, _W_FAULTS, FAULTS)

    def close(self) -> None:
        """Let go of the mapping; every reader made from it must be closed before."""
        self.words.release()
        self.buffer.release()
        self._memory.close()

    def _check(self) -> memoryview:
        size = len(self.buffer)
        if size < _EXTENTS or size % 8:
            raise FormatError(f"{self.name}: found {size} bytes, expected a whole segment")
        words = self.buffer.cast("Q")
        found = (words[_W_MAGIC], words[_W_VERSION], words[_W_SIZE])
        if found != (_MAGIC, LAYOUT, size):
            version = words[_W_VERSION]
            words.release()
            raise FormatError(
                f"{self.name}: found layout {version}, expected {LAYOUT} of {size} bytes"
            )
        return words

    def _is_sound(self, extent: Extent) -> bool:
        kind, key, offset, size = extent.kind, extent.key, extent.offset, extent.size
        room = len(self.buffer) - offset
        if offset < _NAMES or offset % 8 or room <= 0:
            return False
        if kind == Kind.CALLEE:
            return key < SHARED and 0 < size <= min(room, _LONGEST_CALLEE)
        if kind == Kind.COUNT:
            return key <= SHARED and size == 8 and size <= room and offset < _EXTENTS
        if offset < _EXTENTS:
            return False
        if kind in _OF_ONE_SIZE:
            expected, keys = _OF_ONE_SIZE[kind]
            return size == expected <= room and key in keys
        if kind == Kind.RING:
            whole = 0 < size <= _MOST_SLOTS and size & (size - 1) == 0
            return whole and key <= SHARED and ring_bytes(size) <= room
        return False


def is_of_another_version(name: str) -> bool:
    """True for a segment in shared memory of another layout, whose worker may not lock it."""
    try:
        words = memoryview(read_private(SHARED_MEMORY / name, _PAGE)).cast("Q")
    except (OSError, TypeError):  # TypeError: not a whole number of words
        return False
    return len(words) > _W_VERSION and words[_W_MAGIC] == _MAGIC and words[_W_VERSION] != LAYOUT


def begun_unmapped(fd: int) -> int:
    """
    The calls that have begun in the segment open as *fd*, read without mapping it; OSError.

    For who is short of memory. 0 where the file is no segment that can be read so far.
    """
    header = memoryview(os.pread(fd, _PAGE, 0))
    if len(header) < _PAGE:
        return 0
    words = header.cast("Q")
    if (words[_W_MAGIC], words[_W_VERSION]) != (_MAGIC, LAYOUT):
        return 0
    entry_bytes = _ENTRY_WORDS * 8
    count = min(words[_W_ENTRIES], _MOST_ENTRIES)
    directory = memoryview(os.pread(fd, count * entry_bytes, _DIRECTORY))
    losses = _counters(words, _W_LOSSES, LOSSES)
    begun = losses.get("no_row", 0) + losses.get("no_memory", 0)
    for at in range(0, len(directory) - entry_bytes + 1, entry_bytes):
        kind, key, offset, size = directory[at : at + entry_bytes].cast("Q").tolist()
        if kind == Kind.COUNT and size == 8 and offset < _EXTENTS:
            begun += int.from_bytes(os.pread(fd, 8, offset), sys.byteorder)
        if kind == Kind.ROWS and size == BLOCK_BYTES and offset < 1 << 40:
            rows = memoryview(os.pread(fd, BLOCK_BYTES, offset))
            if len(rows) == BLOCK_BYTES:
                changes = InFlightReader(rows.cast("Q"), 0, key).changes()
                begun += sum(change.begun for change in changes)
    return begun
