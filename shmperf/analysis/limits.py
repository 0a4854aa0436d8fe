"""
The newest calls of a tool, by end, and no others: the limit that is applied before the disk.

Memory and time follow the limit, not the traffic: whoever drains hands over at most `limit` items
of a batch, and what is kept is sorted only when it has grown to twice the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from operator import itemgetter, lt
from typing import Any, Generic, TypeVar

__all__ = ["Newest"]

T = TypeVar("T", bound="tuple[Any, ...]")

_end, _by_end = itemgetter(0), itemgetter(0, 1)


class Newest(Generic[T]):
    """
    At most *limit* tuples, the newest by their first two fields; -1 keeps all, 0 none.
    """

    __slots__ = ("_items", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._items: list[T] = []

    def __len__(self) -> int:
        """How many `take` would return."""
        return len(self._items) if self.limit < 0 else min(self.limit, len(self._items))

    def add(self, batch: Sequence[T]) -> None:
        """Consider *batch*."""
        self._items += batch
        if self.limit >= 0 and len(self._items) > 2 * self.limit:
            self._prune()

    def take(self) -> list[T]:
        """The newest, oldest first; afterwards there is nothing."""
        self._prune()
        taken, self._items = self._items, []
        return taken

    def _prune(self) -> None:
        ends = list(map(_end, self._items))
        # One ring's calls come in order, and looking costs a third of sorting.
        if not all(map(lt, ends, islice(ends, 1, None))):
            self._items.sort(key=_by_end)
        surplus = len(self._items) - self.limit if self.limit >= 0 else 0
        if surplus > 0:
            del self._items[:surplus]
