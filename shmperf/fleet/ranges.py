"""
A set of line numbers as half-open ranges, so that of every line the first one is taken, once.

    have  [0, 40) [60, 80)      add(30, 70)      new  [40, 60)      have  [0, 80)

Whoever stores lines keeps such a set per origin, beside what it has stored: a batch that comes
again, whole or in other cuts, minutes or months later, brings nothing new. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise

__all__ = ["Range", "Ranges"]

Range = tuple[int, int]


class Ranges:
    """Numbers, as sorted ranges that do not touch."""

    __slots__ = ("_firsts", "_nexts")

    def __init__(self, known: Iterable[Range] = ()) -> None:
        """Those that `encode` gave, in whatever order; ValueError for what is no range."""
        self._firsts: list[int] = []
        self._nexts: list[int] = []
        for first, after in known:
            self.add(first, after)

    def add(self, first: int, after: int) -> list[Range]:
        """Take up the numbers from *first* to before *after*; the parts of them that are new."""
        if not 0 <= first <= after:
            raise ValueError(f"[{first}, {after}) is no range")
        if first == after:
            return []
        new = self.missing(first, after)
        # Those that touch it, too: they become one.
        low = bisect_left(self._nexts, first)
        high = bisect_right(self._firsts, after)
        if low < high:
            first = min(first, self._firsts[low])
            after = max(after, self._nexts[high - 1])
        self._firsts[low:high] = [first]
        self._nexts[low:high] = [after]
        return new

    def missing(self, first: int, after: int) -> list[Range]:
        """What of the numbers from *first* to before *after* is not there; nothing changes."""
        found = []
        at = bisect_right(self._nexts, first)
        while first < after:
            if at == len(self._firsts) or self._firsts[at] >= after:
                found.append((first, after))
                break
            if first < self._firsts[at]:
                found.append((first, self._firsts[at]))
            first = self._nexts[at]
            at += 1
        return found

    def holes(self) -> list[Range]:
        """What is missing between the least and the greatest number."""
        return [(before[1], behind[0]) for before, behind in pairwise(self)]

    def encode(self) -> list[Range]:
        """The ranges, in order; for msgpack and JSON."""
        return list(self)

    @property
    def end(self) -> int:
        """One more than the greatest number; 0 of none."""
        return self._nexts[-1] if self._nexts else 0

    def __iter__(self) -> Iterator[Range]:
        return zip(self._firsts, self._nexts, strict=True)

    def __len__(self) -> int:
        """How many numbers."""
        return sum(self._nexts) - sum(self._firsts)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number < self._nexts[at]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ranges):
            return NotImplemented
        return list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Ranges({list(self)})"
