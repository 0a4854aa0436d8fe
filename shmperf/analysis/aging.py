"""
Closed intervals of three lengths, finer for today than for last week.

    30 s, for an hour ──► 5 min, for a day ──► 1 h, for 30 days ──► gone

What is too old, or fills too much, is merged into the next length, exactly and a chunk at a time:
work over 20,000 tools is spread over many frames, and meanwhile no call is in two intervals, nor in
none. What is let go of the longest before it is 30 days old is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .packedtotals import CHUNK_BYTES, INTERVAL_BYTES, Packed, merge_chunk
from .timeline import LENGTH_NS

__all__ = ["LENGTHS", "Kept", "Length"]

_SECOND_NS = 10**9
# Chunks that are merged at one time: some milliseconds each.
_PIECE = 8
# With so much more than it may have, a length is not waited for.
_MOST_MORE_BYTES = 1 << 19


class Length(NamedTuple):
    """One of the lengths: how many intervals there may be of it, in how many bytes."""

    length_ns: int
    most: int
    most_bytes: int


LENGTHS = (
    Length(LENGTH_NS, 120, 5 << 19),
    Length(300 * _SECOND_NS, 288, 2 << 20),
    Length(3600 * _SECOND_NS, 720, 7 << 19),
)


class Kept:
    """Closed intervals; those of one length by number, oldest first."""

    def __init__(self, lengths: tuple[Length, ...] = LENGTHS) -> None:
        # Finished calls that no interval knows any more, before their time.
        self.let_go = 0
        # Those of them that nobody was told of; whoever tells makes it 0.
        self.let_go_untold = 0
        self._lengths = lengths
        self._kept: list[dict[int, Packed]] = [{} for _ in lengths]
        self._bytes = [0 for _ in lengths]
        # Up to when nothing more is to be done.
        self._aged_ns = 0

    def put(self, closed: Packed, at: int = 0) -> None:
        """Take over a *closed* interval of that length, newer than all others of it."""
        self._kept[at][closed.start_ns // self._lengths[at].length_ns] = closed
        self._bytes[at] += closed.size_bytes
        self._aged_ns = 0

    def __iter__(self) -> Iterator[Packed]:
        """All of them, the longest first."""
        for kept in reversed(self._kept):
            yield from kept.values()

    @property
    def finest(self) -> dict[int, Packed]:
        """Those of the first length, by number."""
        return self._kept[0]

    @property
    def size_bytes(self) -> int:
        """About what they fill."""
        return sum(self._bytes)

    def state(self) -> list[list[Packed]]:
        """All of them, by length."""
        return [list(kept.values()) for kept in self._kept]

    def age(self, now_ns: int) -> int:
        """
        Merge what is too old at *now_ns*, or too much, into longer ones: a piece of it.

        The highest number of the first length of which something has gone that way; 0 for none.
        """
        if now_ns == self._aged_ns:
            return 0
        gone, left = 0, _PIECE
        for at, length in enumerate(self._lengths):
            most_bytes = length.most_bytes + _MOST_MORE_BYTES
            while left > 0 or self._bytes[at] > most_bytes:
                oldest = self._surplus(at, now_ns)
                if oldest is None:
                    break
                left -= 1
                gone = gone if at else oldest
                self._age_chunk(at, oldest, now_ns)
        if left > 0:
            self._aged_ns = now_ns
        return gone

    def let(self, calls: int) -> None:
        """Count *calls* that no interval will know any more."""
        self.let_go += calls
        self.let_go_untold += calls

    def _surplus(self, at: int, now_ns: int) -> int | None:
        """The oldest interval of that length, when it may not stay."""
        kept, length = self._kept[at], self._lengths[at]
        if not kept:
            return None
        oldest = next(iter(kept))
        is_old = oldest < now_ns // length.length_ns - length.most
        return oldest if is_old or self._bytes[at] > length.most_bytes else None

    def _age_chunk(self, at: int, number: int, now_ns: int) -> None:
        """One chunk less of that interval."""
        one = self._kept[at][number]
        if one.chunks:
            chunk = next(iter(one.chunks))
            self._bytes[at] -= CHUNK_BYTES + len(one.chunks[chunk])
            self._move(at, one, chunk, now_ns)
        if not one.chunks:
            del self._kept[at][number]
            self._bytes[at] -= INTERVAL_BYTES

    def _move(self, at: int, one: Packed, chunk: int, now_ns: int) -> None:
        """That *chunk* of *one* goes into the next length, or is let go."""
        before = one.calls
        rows = one.pop(chunk)
        calls = before - one.calls
        if at + 1 == len(self._lengths):
            length = self._lengths[at]
            is_old = one.start_ns < now_ns - length.most * length.length_ns
            if not is_old:
                self.let(calls)
            return
        length_ns = self._lengths[at + 1].length_ns
        number = one.start_ns // length_ns
        longer = self._kept[at + 1].get(number)
        if longer is None:
            longer = Packed(number * length_ns, 0)
            self.put(longer, at + 1)
        self._bytes[at + 1] += merge_chunk(longer.chunks, chunk, rows)
        longer.calls += calls
        longer.length_ns = max(longer.length_ns, one.start_ns + one.length_ns - longer.start_ns)
