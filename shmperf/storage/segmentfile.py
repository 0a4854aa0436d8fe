"""
A segment of history: compressed lines of one tool, and an index of what lies where.

    <tool>_perf.<n>.jsonl.zst   frame · frame · … · index        .gz in the same way
    frame    whole lines, about 256 KiB of them, compressed alone, with a checksum
    index    msgpack · its length · its CRC-32 · version · magic     integers little-endian, 32 bits

The index stands where `zstdcat` and `zcat` pass over it, so these show the lines and nothing else.
It says of each frame how long it is, how many lines it has, from when until when its calls began,
and between which ids of a block they lie: who looks for a time or an id passes over the others.

    damaged or missing        who reads
    a frame                   goes on behind it; counted and told
    the index                 finds frames by how they begin; nothing is passed over
    a version that is newer   refuses the segment, in a line
"""

from __future__ import annotations

import os
import stat
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple

import msgspec

from shmperf.errors import FormatError
from shmperf.files import open_private, reason_of

from .codecs import CODECS, Codec

__all__ = [
    "FRAME_BYTES",
    "LONGEST_LINE",
    "MOST_FRAMES",
    "Frame",
    "Index",
    "Window",
    "codec_of",
    "doubled",
    "encode_index",
    "head_of",
    "moment",
    "read_index",
    "segment_lines",
    "summary_of",
]

FRAME_BYTES = 256 << 10
# So an index fits into what gzip has for it, and a segment is no more than 256 MiB of lines.
MOST_FRAMES = 1024
LONGEST_LINE = 64 << 20
_MOST_FRAME_BYTES = LONGEST_LINE + FRAME_BYTES
_MOST_BLOCKS = 16
_FOOTER = Struct("<III4s")
_MAGIC = b"shms"
_VERSION = 1
_READ = os.O_RDONLY | os.O_NONBLOCK
_CHUNK = 1 << 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Before a call's id, in a line of ours; further keys follow, none of which looks like it.
_ID = b'"id":"'
_ID_CHARACTERS = 16
_TIMESTAMP_CHARACTERS = 32


class Frame(msgspec.Struct, array_like=True):
    """
    What an index says of a frame: its size, that of its lines, and their number.

    ``first`` and ``last`` are the microseconds between which its calls began, None where that is
    not known; ``blocks`` has, by the upper half of their ids, least and greatest lower half.
    """

    size: int
    raw: int
    lines: int
    first: int | None = None
    last: int | None = None
    blocks: dict[int, tuple[int, int]] | None = None


class Index(msgspec.Struct):
    """The index of a segment; ``head`` tells its first line from every other."""

    tool: str
    head: bytes
    frames: list[Frame]

    @property
    def lines(self) -> int:
        """How many lines the segment has."""
        return sum(frame.lines for frame in self.frames)

    @property
    def raw(self) -> int:
        """How long they are."""
        return sum(frame.raw for frame in self.frames)

    @property
    def last(self) -> int | None:
        """When the last of its calls began, in microseconds; None where that is not known."""
        moments = [frame.last for frame in self.frames]
        known = [one for one in moments if one is not None]
        return max(known) if len(known) == len(moments) else None


class Window(NamedTuple):
    """
    What of history is looked for: calls that began from ``since`` on and before ``until``, an id.

    Frames without such a call are passed over; what of the others is wanted is the reader's part.
    Times are as a line has them.
    """

    since: str | None = None
    until: str | None = None
    id: str | None = None

    def may_be_in(self, frame: Frame) -> bool:
        """False when nothing of *frame* is looked for."""
        since, until = moment(self.since), moment(self.until)
        if since is not None and frame.last is not None and frame.last < since:
            return False
        if until is not None and frame.first is not None and frame.first >= until:
            return False
        return self.id is None or frame.blocks is None or _may_hold(frame.blocks, self.id)


def _may_hold(blocks: dict[int, tuple[int, int]], call_id: str) -> bool:
    try:
        block, rest = divmod(int(call_id, 16), 1 << 32)
    except ValueError:
        return False
    least, most = blocks.get(block, (1, 0))
    return least <= rest <= most


def moment(timestamp: str | bytes | None) -> int | None:
    """Microseconds since 1970 of a line's ``timestamp``; None where it is none."""
    if timestamp is None:
        return None
    try:
        text = timestamp if isinstance(timestamp, str) else timestamp.decode()
        return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except (ValueError, TypeError, OverflowError):
        return None


# --- writing -------------------------------------------------------------------------------------


def head_of(line: bytes) -> bytes:
    """What tells a line from every other; ids make them differ."""
    return blake2b(line, digest_size=8).digest()


def summary_of(tool: str, lines: list[bytes], size: int) -> Frame:
    """
    What an index says of a frame of *size* bytes that holds *lines* of *tool*, without their ends.

    By looking at bytes: taking each line apart would cost several times what compressing does.
    """
    frame = Frame(size, sum(map(len, lines)) + len(lines), len(lines))
    beginning = b'{"tool":%b,"timestamp":"' % msgspec.json.encode(tool)
    end = len(beginning) + _TIMESTAMP_CHARACTERS
    starts = [line[:end] for line in lines]
    least, most = min(starts), max(starts)
    # Where both begin as our lines do, so does everything between them.
    if least.startswith(beginning) and most.startswith(beginning):
        first, last = moment(least[len(beginning) :]), moment(most[len(beginning) :])
        frame.first, frame.last = (None, None) if None in (first, last) else (first, last)
    frame.blocks = _blocks_of(
        line[(at := line.rfind(_ID) + len(_ID)) : at + _ID_CHARACTERS] for line in lines
    )
    return frame


def _blocks_of(ids: Iterable[bytes]) -> dict[int, tuple[int, int]] | None:
    """By the upper half of *ids*, the least and the greatest lower one; None for many blocks."""
    ordered = sorted(ids)
    found: dict[int, tuple[int, int]] = {}
    at = 0
    try:
        while at < len(ordered):
            block = ordered[at][:8]
            following = bisect_right(ordered, block + b"g", at)
            least, most = ordered[at][8:], ordered[following - 1][8:]
            found[int(block, 16)] = (int(least, 16), int(most, 16))
            if len(found) > _MOST_BLOCKS:
                return None
            at = following
    except ValueError:
        return None  # a line without an id
    return found


def encode_index(index: Index, codec: Codec) -> bytes:
    """*index* as it ends a segment; of very many blocks the ids are left out."""
    payload = msgspec.msgpack.encode(index)
    if len(payload) + _FOOTER.size > codec.most_index_bytes:
        bare = [Frame(f.size, f.raw, f.lines, f.first, f.last) for f in index.frames]
        payload = msgspec.msgpack.encode(Index(index.tool, index.head, bare))
    footer = _FOOTER.pack(len(payload), zlib.crc32(payload), _VERSION, _MAGIC)
    return codec.hidden(payload + footer)


# --- reading -------------------------------------------------------------------------------------


def codec_of(path: Path) -> Codec:
    """The codec that a segment's name tells of; FormatError for another name."""
    for codec in CODECS:
        if path.name.endswith(codec.suffix):
            return codec
    raise FormatError(f"{path}: no segment")


def _opened(path: Path) -> BinaryIO:
    """A plain file, open for reading; OSError."""
    file = os.fdopen(open_private(path, _READ), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise PermissionError("no plain file")
    return file


def read_index(path: Path) -> Index | None:
    """
    The index of a segment; None where it is damaged or missing.

    FormatError for one of a newer version, OSError for a file that can't be read.
    """
    with _opened(path) as file:
        return _index_in(file, codec_of(path), path)


def _index_in(file: BinaryIO, codec: Codec, path: Path) -> Index | None:
    size = os.fstat(file.fileno()).st_size
    at = size - codec.tail_bytes - _FOOTER.size
    if at < 0:
        return None
    file.seek(at)
    length, check, version, magic = _FOOTER.unpack(file.read(_FOOTER.size))
    if magic != _MAGIC or length > min(at, codec.most_index_bytes):
        return None
    if version > _VERSION:
        raise FormatError(f"{path}: found a segment of version {version}, expected {_VERSION}")
    file.seek(at - length)
    payload = file.read(length)
    if zlib.crc32(payload) != check:
        return None
    try:
        index = msgspec.msgpack.decode(payload, type=Index)
    except (msgspec.MsgspecError, ValueError):
        return None
    return index if all(min(f.size, f.raw, f.lines) >= 0 for f in index.frames) else None


def doubled(file: BinaryIO, at: int, indexes: Mapping[int, Index | None]) -> set[int]:
    """
    Those of *indexes*, by number, whose lines stand in *file* still, from *at* on.

    From the first that does on they follow each other, as they came out of it.
    """
    found: set[int] = set()
    head = _head_at(file, at)
    for number in sorted(indexes):
        index = indexes[number]
        if head and index is not None and index.head == head:
            found.add(number)
            at += index.raw
            head = _head_at(file, at)
        elif found:
            break
    return found


def _head_at(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    line = file.readline(LONGEST_LINE)
    return head_of(line) if line.endswith(b"\n") else b""


def segment_lines(path: Path, window: Window, tell: Callable[[str], object]) -> Iterator[bytes]:
    """
    The lines of a segment, those of frames that nothing in *window* lies in left out.

    One frame is in memory at a time. What can't be read is passed over, and told in one line.
    """
    try:
        with _opened(path) as file:
            codec = codec_of(path)
            index = _index_in(file, codec, path)
            frames = _listed(file, codec, index, window) if index else _sought(file, codec)
            damaged = 0
            for lines in frames:
                if lines is None:
                    damaged += 1
                    continue
                yield from BytesIO(lines)
    except FileNotFoundError:
        return  # it has been let go of meanwhile
    except OSError as error:
        tell(f"{path}: {reason_of(error)}; its lines are missing")
        return
    except FormatError as error:
        tell(str(error))
        return
    if index is None:
        tell(f"{path}: its index is damaged; {damaged} damaged parts were passed over")
    elif damaged:
        count = len(index.frames)
        tell(f"{path}: {damaged} of {count} frames are damaged; their lines are missing")


def _listed(file: BinaryIO, codec: Codec, index: Index, window: Window) -> Iterator[bytes | None]:
    """The lines of each frame of *index* that may hold what is looked for; None for damage."""
    at = 0
    for frame in index.frames:
        if window.may_be_in(frame):
            file.seek(at)
            try:
                lines = codec.expand(_read_up_to(file, frame.size), frame.raw)
            except ValueError:
                lines = b""
            yield lines if len(lines) == frame.raw else None
        at += frame.size


def _read_up_to(file: BinaryIO, size: int) -> bytes:
    """So many bytes of a frame; ValueError for more than any frame has."""
    if size > _MOST_FRAME_BYTES:
        raise ValueError("a frame that is too long")
    return file.read(size)


def _sought(file: BinaryIO, codec: Codec) -> Iterator[bytes | None]:
    """The lines of each frame that can be found without an index; None for damage between."""
    at = 0
    end = os.fstat(file.fileno()).st_size
    while at < end:
        found = _next_magic(file, codec.magic, at)
        if found != at:
            yield None
        if found < 0:
            return
        lines, length = _expanded_at(file, codec, found)
        at = found + max(length, 1)
        if lines:
            yield lines


def _next_magic(file: BinaryIO, magic: bytes, at: int) -> int:
    """Where *magic* stands from *at* on; -1 when nowhere."""
    overlap = len(magic) - 1
    while True:
        file.seek(at)
        chunk = file.read(_CHUNK)
        found = chunk.find(magic)
        if found >= 0:
            return at + found
        if len(chunk) <= overlap:
            return -1
        at += len(chunk) - overlap


def _expanded_at(file: BinaryIO, codec: Codec, at: int) -> tuple[bytes, int]:
    """The lines of a frame that begins there, and its length; nothing and 0 when it is damaged."""
    file.seek(at)
    expander = codec.expander()
    parts: list[bytes] = []
    size = length = 0
    while not expander.eof:
        chunk = file.read(_CHUNK)
        try:
            part = expander.decompress(chunk, _MOST_FRAME_BYTES) if chunk else b""
        except codec.errors():
            return b"", 0
        size += len(part)
        length += len(chunk)
        if not chunk or size > _MOST_FRAME_BYTES:
            return b"", 0
        parts.append(part)
    lines = b"".join(parts)
    return (lines if lines.endswith(b"\n") else b""), length - len(expander.unused_data)
