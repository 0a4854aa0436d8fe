"""A tool as a process knows it: its name, its lane, and the tuple that calls reach it by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from shmperf.compiled.chosen import hot
from shmperf.shm.record import Callee
from shmperf.shm.ring import NO_POSITIONS

from .lanes import Lane

if TYPE_CHECKING:
    from .sampler import Sampled, Sampler

__all__ = [
    "IN_DETAIL",
    "NOT_RECORDED",
    "NO_ROOM",
    "PLAINLY",
    "SAMPLED",
    "UNBOUND",
    "Bound",
    "Reached",
    "Route",
    "Tool",
    "bound_of",
]

# Where a wrapper looks at each call: session word, session, ready rows, words, buffer, positions
# and their shift.
Bound = tuple[int, memoryview, list[int], memoryview, memoryview, Iterator[int], int]


def bound_of(
    word: int,
    session: memoryview,
    ready: list[int],
    memory: tuple[memoryview, memoryview],
    granted: tuple[Iterator[int], int],
) -> Bound:
    """A tool's tuple: *memory* are words and bytes, *granted* positions and their shift."""
    if hot is None:
        return word, session, ready, *memory, *granted
    found: Bound = hot.Binding(word, session, ready, *memory, *granted)
    return found


_nothing = memoryview(bytearray(8)).cast("Q")


class Route(NamedTuple):
    """What becomes of a call: not recorded at all, plainly, in detail, or one of many plainly."""

    is_recorded: bool
    in_detail: bool = False
    is_sampled: bool = False


NOT_RECORDED = Route(is_recorded=False)
# No memory for the tool's name: a record that nobody could name would be worse than none.
NO_ROOM = Route(is_recorded=False)
PLAINLY = Route(is_recorded=True)
IN_DETAIL = Route(is_recorded=True, in_detail=True)
SAMPLED = Route(is_recorded=True, is_sampled=True)


class Reached:
    """What a wrapper finds in its cell at each call; the compiled path goes by these slots."""

    __slots__ = ("bound", "sampled")

    bound: Bound | None
    sampled: Sampled | None


class Tool(Reached):
    """
    A name under which calls are recorded, in this process.

    ``detailed`` is its tuple where the mode is detail, else None. ``sampler`` is there from when
    the tool was first sampled. ``sampled`` is what a wrapper looks at where ``bound`` is None: of
    a tool itself there is nothing, and tracking is off. Its calls show their parameters while
    they are open where ``is_shown``: until one has ended, and then while the last that came by
    the long way was slow. ``named`` is the line of the name table for calls whose parameters
    carry their names, 0 until it is drawn.
    """

    __slots__ = (
        *("callees", "detailed", "is_shown", "lane", "name", "named", "route", "sampler"),
        *("word",),
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.sampled = None
        self.sampler: Sampler | None = None
        self.callees: dict[Callee, int] = {}
        self.named = 0
        self.forget(off=False)

    def forget(self, *, off: bool) -> None:
        """Back to before the first call; with *off*, until tracking is switched on again."""
        self.lane: Lane | None = None
        self.is_shown = True
        self.route = NOT_RECORDED
        self.word = -1
        self.bound = None if off else UNBOUND
        self.detailed: Bound | None = None
        if self.sampler is not None:
            self.sampler.forget(off=off)


UNBOUND: Bound = (-1, _nothing, [], _nothing, _nothing, NO_POSITIONS, 0)
