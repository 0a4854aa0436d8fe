"""
A node's state at the broker: values of bounded size, and never half of one and half of the next.

    <node>.<origin>        head: generation, digest, how many pieces; a small state lies in it whole
    <node>.<origin>.0.0    the pieces of even generations
    <node>.<origin>.1.0    those of odd ones

Who writes puts the pieces first and the head after them, on top of the head it knows, or not at
all. A reader takes the head, then its pieces: each begins with its generation, and all together
have the head's digest. A piece of another generation means that the head has moved on: the reader
looks at it again, and keeps what it had where that is never still.

    killed after …       a reader sees
    some pieces          the former head, whose pieces are the other half's: whole
    all pieces           the same
    the head             the new state
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

import msgspec

from shmperf.errors import FormatError

__all__ = ["LARGEST_BYTES", "Cut", "Head", "cut", "head_of", "is_head", "piece_key", "whole"]

# Of a value; a broker takes a megabyte.
LARGEST_BYTES = 512 << 10
_MOST_PIECES = 64
_VERSION = 1
_DIGEST_BYTES = 16
_GENERATION = Struct("<Q")
_PARTS_OF_A_HEAD = 2
_ROOM = LARGEST_BYTES - 256
_LAST = (1 << 63) - 1


class Head(msgspec.Struct, array_like=True):
    """What says which pieces belong together; ``content`` is all of it where there are none."""

    version: int
    generation: int
    digest: bytes
    pieces: int = 0
    content: bytes = b""


class Cut(NamedTuple):
    """A state as it is put: the pieces in their order, then the head."""

    head: bytes
    pieces: list[bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Head).decode


def cut(content: bytes, generation: int) -> Cut:
    """*content* in values that a broker takes; FormatError for more than fits."""
    digest = _digest(content)
    if len(content) <= _ROOM:
        return Cut(_encode(Head(_VERSION, generation, digest, 0, content)), [])
    lead = _GENERATION.pack(generation)
    pieces = [lead + content[at : at + _ROOM] for at in range(0, len(content), _ROOM)]
    if len(pieces) > _MOST_PIECES:
        raise FormatError(f"found a state of {len(content):,} bytes, more than can be put")
    return Cut(_encode(Head(_VERSION, generation, digest, len(pieces))), pieces)


def piece_key(key: str, generation: int, number: int) -> str:
    """Where a piece of the state under *key* lies."""
    return f"{key}.{generation % 2}.{number}"


def is_head(key: str) -> bool:
    """True for the key of a head: a piece's has more parts."""
    return len(key.split(".")) == _PARTS_OF_A_HEAD


def head_of(value: bytes) -> Head:
    """The head that was put; FormatError for anything else."""
    try:
        head = _decode(value)
    except (msgspec.MsgspecError, ValueError) as error:
        raise FormatError(f"found no head of a node's state: {error}") from None
    if head.version != _VERSION:
        raise FormatError(f"found a head of version {head.version}, expected {_VERSION}")
    if not (0 <= head.pieces <= _MOST_PIECES and 0 <= head.generation <= _LAST):
        raise FormatError("found a head that nobody has written")
    return head


def whole(key: str, head: Head, read: Callable[[str], bytes | None]) -> bytes | None:
    """The state of *head*, whose pieces *read* gives; None where they are not its own any more."""
    content = head.content
    if head.pieces:
        parts = []
        for number in range(head.pieces):
            piece = read(piece_key(key, head.generation, number)) or b""
            if piece[: _GENERATION.size] != _GENERATION.pack(head.generation):
                return None
            parts.append(piece[_GENERATION.size :])
        content = b"".join(parts)
    return content if _digest(content) == head.digest else None


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=_DIGEST_BYTES, person=b"shmperf state").digest()
