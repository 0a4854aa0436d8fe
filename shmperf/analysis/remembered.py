"""Which tool a call was of, for a while after it was settled."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Remembered"]

# So many parts are forgotten one after the other.
_PARTS = 16


class _Part:
    """
    Calls that are forgotten together.

    Where tools take turns a few calls are of one: they take no object of their own. Ids are words:
    integers would keep the memory of everything that was made between them.
    """

    __slots__ = ("_counts", "_tools", "ids")

    def __init__(self) -> None:
        self.ids = array("Q")
        self._tools: list[str] = []
        self._counts = array("L")

    def __iter__(self) -> Iterator[tuple[str, array[int]]]:
        """Tools and ids, in the order in which they came."""
        at = 0
        for tool, count in zip(self._tools, self._counts, strict=True):
            yield tool, self.ids[at : at + count]
            at += count

    def add(self, tool: str, ids: Sequence[int]) -> None:
        self.ids.extend(ids if type(ids) is array else array("Q", ids))
        self._tools.append(tool)
        self._counts.append(len(ids))


class Remembered:
    """The ids of the last *most* calls or so, by tool, in the order in which they came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: deque[_Part] = deque([_Part()])
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, array[int]]]:
        return (found for part in self._parts for found in part)

    def add(self, tool: str, ids: Sequence[int]) -> Iterable[tuple[str, array[int]]]:
        """Remember further calls of *tool*; those that are forgotten for them."""
        if len(self._parts[-1].ids) * _PARTS >= self._most:
            self._parts.append(_Part())
        self._parts[-1].add(tool, ids)
        self._count += len(ids)
        gone: list[_Part] = []
        while self._count - len(self._parts[0].ids) >= self._most:
            gone.append(self._parts.popleft())
            self._count -= len(gone[-1].ids)
        return (found for part in gone for found in part)
