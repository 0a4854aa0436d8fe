"""
Lines of an outbox as batches: the same cuts for the same lines, without what is not to leave.

    records: false      a call's line is left out, its number is covered
    arguments: false    a call's line without its parameters

Pure. Secrets among parameters are masked where they are captured, in the worker; names, errors and
where they were raised are part of what a call is, and go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from .wire import MOST_BYTES, MOST_LINES

__all__ = ["MOST_COVERED", "Cut", "cuts", "shown_line"]

# Numbers of one batch, most of them left out.
MOST_COVERED = 16_000
_CALL = b'{"kind":"call"'
_PARAMETERS = ("p", "params")


class Cut(NamedTuple):
    """Consecutive lines from number *first* on; an empty one is left out."""

    first: int
    lines: list[bytes]
    dropped: int = 0

    @property
    def kept(self) -> int:
        """Lines that are not left out."""
        return sum(map(bool, self.lines))

    def halves(self) -> list[Cut]:
        """Two of it, where one is too much at once."""
        middle = len(self.lines) // 2
        return [
            Cut(self.first, self.lines[:middle], self.dropped),
            Cut(self.first + middle, self.lines[middle:]),
        ]


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """A call's line, of which only the parameters are looked for."""

    kind: msgspec.Raw
    tool: msgspec.Raw
    timestamp: msgspec.Raw
    data: dict[str, msgspec.Raw]


_decode = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder().encode


def shown_line(line: bytes, *, records: bool, arguments: bool) -> bytes:
    """*line* as it is published; nothing where it is not, or is none of ours."""
    if not line.startswith(_CALL):
        return line
    if not records:
        return b""
    if arguments:
        return line
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Whatever it is, nobody can say where its parameters are.
        return b""
    for name in _PARAMETERS:
        found.data.pop(name, None)
    return _encode(found)


def cuts(first: int, lines: Sequence[bytes], dropped: int) -> Iterator[Cut]:
    """*lines* from number *first* on, *dropped* missing before them, in batches."""
    begin, kept, size = 0, 0, 0
    for at, line in enumerate(lines):
        is_full = kept == MOST_LINES or at - begin == MOST_COVERED
        if at > begin and (is_full or size + len(line) > MOST_BYTES):
            yield Cut(first + begin, list(lines[begin:at]), dropped)
            begin, kept, size, dropped = at, 0, 0, 0
        kept, size = kept + bool(line), size + len(line)
    if begin < len(lines):
        yield Cut(first + begin, list(lines[begin:]), dropped)
