"""Which tool a call was of, for a while after it was settled."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Sequence

__all__ = ["Remembered"]


class Remembered:
    """The ids of the last *most* calls or so, by tool, in the order in which they came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ids: deque[tuple[str, array[int]]] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, array[int]]]:
        return iter(self._ids)

    def add(self, tool: str, ids: Sequence[int]) -> list[tuple[str, array[int]]]:
        """Remember further calls of *tool*; those that are forgotten for them."""
        # As words: integers would keep the memory of everything that was made between them.
        self._ids.append((tool, array("Q", ids)))
        self._count += len(ids)
        gone = []
        while self._count - len(self._ids[0][1]) >= self._most:
            gone.append(self._ids.popleft())
            self._count -= len(gone[-1][1])
        return gone
