"""
What this process's open calls show of their parameters, as far as there are cells for them.

A call of a tool that is slow shows its parameters, and so does the first one of every tool. What is
done for it costs a few microseconds, which a call of a millisecond does not feel.
"""

from __future__ import annotations

from collections.abc import Iterator

from shmperf.shm.board import MOST_BODY_BYTES, BoardWriter, Shown
from shmperf.shm.segment import Segment

from .guard import Guard

__all__ = ["SLOW_NS", "Boards"]

# A tool is slow while its last call took so long.
SLOW_NS = 1_000_000
_none: Iterator[int] = iter(())


class Boards:
    """The cells of one process; none before it has a segment. Any thread."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._segment: Segment | None = None
        self._writer: BoardWriter | None = None
        # Where there was no memory once, nobody asks for it with every call.
        self._is_refused = False

    def open(self, segment: Segment) -> None:
        """They lie in *segment*."""
        self._segment, self._writer = segment, BoardWriter(segment.buffer)

    def free(self) -> Iterator[int]:
        """Takes a cell each time; it may raise IndexError when there is none."""
        writer = self._writer
        if writer is None:
            return _none
        if writer.wants_more() and not self._is_refused:
            self._guard.run(self._add, _refuse)
        return writer.free

    def write(self, cell: int, call_id: int, kind: int, body: bytes) -> None:
        """Let *cell* show what the call of that id was called with; nothing where that is long."""
        if self._writer is not None and len(body) <= MOST_BODY_BYTES:
            self._writer.write(cell, call_id, Shown(kind, body))

    def give_back(self, cell: int) -> None:
        """The call that *cell* was taken for has ended."""
        if self._writer is not None:
            self._writer.give_back(cell)

    def _add(self) -> bool:
        if self._segment is None or self._writer is None:
            return False
        self._is_refused = not self._segment.extend(self._writer)
        return not self._is_refused


def _refuse() -> bool:
    return False
