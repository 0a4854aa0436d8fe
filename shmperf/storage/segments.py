"""What is known of a tool's segments: as the journal lists them, and as they are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from .history import FileState
from .segmentfile import Index

__all__ = ["Kept", "Moved", "Segments", "kept_of", "lines_in", "listing"]


class Segments(msgspec.Struct, array_like=True):
    """
    The segments of a tool as the journal lists them: numbers from ``first`` on and before ``next``.

    ``moved_bytes`` of the file with that ``inode``, ``moved_lines`` lines, are in segments and
    have not left the file yet.
    """

    first: int = 1
    next: int = 1
    lines: int = 0
    size: int = 0
    inode: int = 0
    moved_bytes: int = 0
    moved_lines: int = 0

    def none(self) -> Segments:
        """A listing without any, which goes on with their numbers."""
        return Segments(first=self.next, next=self.next)

    def at_rest(self, inode: int = 0) -> Segments:
        """The same, of whose lines none is in the file."""
        return msgspec.structs.replace(self, inode=inode, moved_bytes=0, moved_lines=0)

    def with_moved_of(self, known: Segments) -> Segments:
        """The same, of whose lines those are in the file that are of *known*."""
        return msgspec.structs.replace(
            self, inode=known.inode, moved_bytes=known.moved_bytes, moved_lines=known.moved_lines
        )

    def with_those_of(self, former: Segments) -> Segments:
        """A listing of these and of *former*, by their numbers alone."""
        return Segments(first=min(self.first, former.first), next=max(self.next, former.next))


class Moved(NamedTuple):
    """
    What a frame has to say: the segments of a tool as they are now, and its file.

    ``gone`` lines are nowhere any more.
    """

    tool: str
    segments: Segments
    file: FileState | None = None
    gone: int = 0


class Kept(NamedTuple):
    """A segment that is there; ``last`` is when the last of its calls began, in microseconds."""

    name: str
    size: int
    lines: int
    last: int | None


def lines_in(file: FileState | None, segments: Segments | None) -> int:
    """How many lines of a tool there are: those in both places count once."""
    count = 0 if file is None else file.lines
    if segments is None:
        return count
    if file is not None and segments.inode == file.inode:
        count -= segments.moved_lines
    return count + segments.lines


def listing(kept: Mapping[int, Kept], following: int) -> Segments:
    """What the journal lists of *kept*."""
    return Segments(
        first=min(kept, default=following),
        next=following,
        lines=sum(one.lines for one in kept.values()),
        size=sum(one.size for one in kept.values()),
    )


def kept_of(name: str, size: int, index: Index | None) -> Kept:
    return Kept(name, size, 0, None) if index is None else Kept(name, size, index.lines, index.last)
