"""
What a node publishes: subjects, the ids of messages, and a batch of outbox lines as bytes.

    <stream>.records.p07.<node>      the partition is a checksum of the node's name
    Nats-Msg-Id: <origin>.<first>.<count>
    body: msgpack [version, node, origin, first, count, dropped, left_out, lines, storage]

*lines* is one text per number from *first* on, with newlines between, compressed with zstd (with
gzip by a Python that has none; who reads tells them apart by how they begin); a line
that is left out (a call, where only totals are wanted) is an empty text, so that numbers stay whole
and (origin, number) means the same line for ever. *dropped* says how many numbers right before
*first* are lost: the outbox was full, or could not be written.

An *origin* names numbers that never begin anew: that of the storage, or one made of it where they
did, see `numbers`; *storage* is then the storage's own, and else empty: ids of calls and traces are
a storage's, whatever numbers their lines have. Nothing of a
body is believed: lengths are bounded before anything is unpacked, and a newer version is told from
what is none of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated
from zlib import crc32

import msgspec
from msgspec import Meta

from shmperf.errors import FormatError
from shmperf.storage.codecs import CODECS, has_zstd

__all__ = [
    "MOST_BYTES",
    "MOST_LINES",
    "PARTITIONS",
    "VERSION",
    "Batch",
    "decode",
    "description",
    "encode",
    "key_of",
    "kinds_subject",
    "lines_of",
    "message_id",
    "name_of",
    "partition_name",
    "partition_of",
    "partitions_in",
    "subject_of",
]

VERSION = 1
PARTITIONS = 16
# Of a batch, before it is compressed.
MOST_LINES, MOST_BYTES = 1_000, 512 << 10
_MOST_PARTITIONS = 4096
_MOST_BODY, _MOST_TEXT = 64 << 20, 64 << 20
# Of lines, those that are left out, too.
_MOST_COUNT = 1 << 16
_NUMBER = Meta(ge=0, le=1 << 62)
_DESCRIPTION = re.compile(r"shmperf/(\d{1,6}) partitions=(\d{1,6})\Z")
_WHOLE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """Consecutive lines of one outbox; see above."""

    version: Annotated[int, Meta(ge=1)]
    node: Annotated[str, Meta(max_length=255)]
    origin: Annotated[bytes, Meta(min_length=16, max_length=16)]
    first: Annotated[int, _NUMBER]
    count: Annotated[int, Meta(ge=1, le=_MOST_COUNT)]
    dropped: Annotated[int, _NUMBER]
    left_out: Annotated[int, Meta(ge=0, le=_MOST_COUNT)]
    lines: bytes
    storage: Annotated[bytes, Meta(max_length=16)] = b""

    @property
    def after(self) -> int:
        """One more than the last line's number."""
        return self.first + self.count


class _Version(msgspec.Struct, array_like=True):
    version: Annotated[int, Meta(ge=1)]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Batch).decode
_decode_version = msgspec.msgpack.Decoder(_Version).decode


def name_of(node: str) -> str:
    """*node* as it stands in subjects and keys: other characters become ``_``, told by a sum."""
    if _WHOLE_NAME.match(node):
        return node
    return f"{_NOT_IN_NAMES.sub('_', node)[:55]}-{crc32(node.encode()):08x}"


def partition_of(node: str, partitions: int) -> int:
    """Where a node's messages go."""
    return crc32(node.encode()) % partitions


def partition_name(partition: int) -> str:
    """As in subjects, keys and the names of files: ``p07``."""
    return f"p{partition:02d}"


def subject_of(stream: str, node: str, partitions: int) -> str:
    """Where a node's batches are published."""
    partition = partition_name(partition_of(node, partitions))
    return f"{stream}.records.{partition}.{name_of(node)}"


def kinds_subject(stream: str, partition: int | None = None) -> str:
    """All records of a partition, or of the fleet, as a pattern."""
    return f"{stream}.records.{'*' if partition is None else partition_name(partition)}.*"


def key_of(node: str, origin: bytes) -> str:
    """The key of a node's own entries in buckets."""
    return f"{name_of(node)}.{origin.hex()}"


def description(partitions: int = PARTITIONS) -> str:
    """What a stream of ours says of itself."""
    return f"shmperf/{VERSION} partitions={partitions}"


def partitions_in(text: str) -> int:
    """The partitions that a stream's *text* tells; FormatError where it isn't one of ours."""
    found = _DESCRIPTION.match(text)
    if found is None:
        raise FormatError("found a stream that is not one of shmperf's")
    if int(found[1]) != VERSION:
        raise FormatError(f"found a stream of version {found[1]}, expected {VERSION}")
    if not 1 <= int(found[2]) <= _MOST_PARTITIONS:
        raise FormatError(f"found {found[2]} partitions, expected 1 to {_MOST_PARTITIONS}")
    return int(found[2])


def message_id(origin: bytes, first: int, count: int) -> str:
    """The same for the same lines, as long as they are cut the same way."""
    return f"{origin.hex()}.{first}.{count}"


@cache
def _compressor() -> Callable[[bytes], bytes]:
    # Used again, it is faster; one thread of a process publishes.
    return CODECS[0 if has_zstd() else 1].compressor()


def encode(
    node: str,
    origin: bytes,
    first: int,
    lines: Sequence[bytes],
    dropped: int = 0,
    storage: bytes = b"",
) -> bytes:
    """*lines* from number *first* on as a body; an empty one is left out."""
    batch = Batch(
        VERSION,
        node,
        origin,
        first,
        len(lines),
        dropped,
        sum(not line for line in lines),
        _compressor()(b"\n".join(lines)),
        b"" if storage == origin else storage,
    )
    return _encode(batch)


def decode(body: bytes) -> Batch:
    """
    What *body* holds; `lines_of` unpacks its lines.

    FormatError for a newer version, and for what is none of ours.
    """
    if len(body) > _MOST_BODY:
        raise FormatError(f"found {len(body):,} bytes, expected at most {_MOST_BODY:,}")
    try:
        version = _decode_version(body).version
        if version != VERSION:
            raise FormatError(f"found a batch of version {version}, expected {VERSION}")
        return _decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise FormatError(f"found no batch of shmperf's: {str(error)[:80]}") from None


def lines_of(batch: Batch) -> list[tuple[int, bytes]]:
    """Its lines with their numbers, without those that are left out; FormatError."""
    codec = next((one for one in CODECS if batch.lines.startswith(one.magic)), None)
    if codec is None:
        raise FormatError("found lines that nothing of ours has compressed")
    # Several are cut to a size; a single one has whatever it has.
    most = _MOST_TEXT if batch.count == 1 else 2 * MOST_BYTES + batch.count
    try:
        text = codec.expand(batch.lines, most)
    except ValueError as error:
        raise FormatError(f"found damaged lines: {error}") from None
    # Counted before they are split: each line takes more than its bytes.
    count = text.count(b"\n") + 1
    if count != batch.count:
        raise FormatError(f"found {count:,} lines in a batch of {batch.count:,}")
    lines = text.split(b"\n")
    if sum(not line for line in lines) != batch.left_out:
        raise FormatError(f"found other than {batch.left_out:,} lines left out")
    return [(number, line) for number, line in enumerate(lines, batch.first) if line]
