"""
The wire format of protobuf, as far as it is written here: numbers, texts, messages in messages.

A field is a tag (its number and its type), then a varint, eight bytes, or a length and so many
bytes (Protocol Buffers, "Encoding"). Whoever writes a message joins its fields; of what others have
written only what is short and simple is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

__all__ = ["double", "fields", "fixed", "message", "number", "signed", "text", "varint"]

_TYPE_BITS = 3
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_TYPES = (1 << _TYPE_BITS) - 1
# A varint's byte holds so many bits, and says by the next one whether more follow.
_GROUP_BITS = 7
_MORE = 1 << _GROUP_BITS
_GROUP = _MORE - 1
# The least values of three and of four bytes: nearly all lengths and counts have fewer.
_THREE, _FOUR = 1 << 2 * _GROUP_BITS, 1 << 3 * _GROUP_BITS
_MOST_GROUPS = 10
_UINT64 = (1 << 64) - 1
_double = Struct("<d").pack
_fixed = Struct("<Q").pack
_SMALL = [bytes([value]) for value in range(_MORE)]


def varint(value: int) -> bytes:
    """*value*, which is not negative, in groups of bits, the lowest first."""
    if value < _MORE:
        return _SMALL[value]
    if value < _THREE:
        return bytes((value & _GROUP | _MORE, value >> _GROUP_BITS))
    if value < _FOUR:
        middle = value >> _GROUP_BITS & _GROUP | _MORE
        return bytes((value & _GROUP | _MORE, middle, value >> 2 * _GROUP_BITS))
    found = bytearray()
    while value >= _MORE:
        found.append(value & _GROUP | _MORE)
        value >>= _GROUP_BITS
    found.append(value)
    return bytes(found)


def number(field: int, value: int) -> bytes:
    """An integer; a negative one in two's complement, as int64 has it."""
    return varint(field << _TYPE_BITS | _VARINT) + varint(value & _UINT64)


def signed(field: int, value: int) -> bytes:
    """An integer as sint64 has it: one bit more, so that small negative ones are short."""
    folded = value + value if value >= 0 else -value - value - 1
    return varint(field << _TYPE_BITS | _VARINT) + varint(folded)


def double(field: int, value: float) -> bytes:
    """A floating point number."""
    return varint(field << _TYPE_BITS | _EIGHT_BYTES) + _double(value)


def fixed(field: int, value: int) -> bytes:
    """An integer in eight bytes; a negative one in two's complement, as sfixed64 has it."""
    return varint(field << _TYPE_BITS | _EIGHT_BYTES) + _fixed(value & _UINT64)


def message(field: int, content: bytes) -> bytes:
    """Bytes, or a message within a message."""
    return varint(field << _TYPE_BITS | _LENGTH) + varint(len(content)) + content


def text(field: int, value: str) -> bytes:
    """A string; a lone surrogate, which is no UTF-8, as its escape."""
    return message(field, value.encode("utf-8", "backslashreplace"))


def fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field, those of a fixed length as bytes; ValueError for others."""
    at = 0
    while at < len(content):
        tag, at = _varint_at(content, at)
        kind = tag & _TYPES
        if kind == _VARINT:
            value, at = _varint_at(content, at)
            yield tag >> _TYPE_BITS, value
            continue
        if kind == _LENGTH:
            size, at = _varint_at(content, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"type {kind} of a field")
        if size > len(content) - at:
            raise ValueError("a field that is cut off")
        yield tag >> _TYPE_BITS, content[at : at + size]
        at += size


def _varint_at(content: bytes, at: int) -> tuple[int, int]:
    """The number there, and where it ends."""
    found = 0
    for place, byte in enumerate(content[at : at + _MOST_GROUPS]):
        found |= (byte & _GROUP) << _GROUP_BITS * place
        if byte < _MORE:
            return found, at + place + 1
    raise ValueError("a number that is cut off, or too long")
