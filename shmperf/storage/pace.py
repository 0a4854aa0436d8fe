"""How a long piece of work over many files shows that it goes on, and when it takes a break."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

__all__ = ["Pace"]

T = TypeVar("T")

# What draining can wait for: a small ring fills in less than this, but then a larger one follows.
_PIECE_S = 0.05


class Pace:
    """
    Counts what is done in the thread that writes; whoever waits for it looks at the ``beats``.

    Work that makes progress is not stuck, however much of it there is. ``taken`` is how many items
    the last `piece` has come to.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.beats = 0
        self.taken = 0
        self._clock = clock

    def piece(self, items: Iterable[T], longest_s: float = _PIECE_S) -> Iterator[T]:
        """*items* as far as one short while allows; the first in any case."""
        end_s = self._clock() + longest_s
        self.taken = 0
        for item in items:
            if self.taken and self._clock() > end_s:
                break
            self.taken += 1
            yield item
            self.beats += 1

    def reached(self, items: Iterable[T]) -> frozenset[T]:
        """Those of *items* that the last `piece` of them has come to."""
        return frozenset(islice(items, self.taken))

    def whole(self, items: Iterable[T]) -> Iterator[T]:
        """All *items*."""
        for item in items:
            yield item
            self.beats += 1
