"""
Which calls of a sampled tool get a record, and the exact count of those that get none.

    choice      begins run out ──► this call is recorded, and the next gap is drawn
    ended       ends are counted: the next number, stored as one word of shared memory

Of every so many calls one is recorded: the gap from one to the next is drawn evenly from 1 to twice
the mean, less one, and the first is anywhere, for each tool and process. A program that does the
same in turns is so not met at the same turn each time.

A call without a record begins nowhere. It counts when it ends, by one store of eight bytes, so what
a kill leaves is exactly the calls that had ended. Both iterators are shared by the threads of the
process: whoever takes a number of ``ended`` stores it before any other thread or handler has its
turn (``for`` lets none in), so the word never goes back.

    killed …                            the reader sees
    before the call has ended           nothing of it: it was neither begun nor is it aborted
    the word stored                     a call that has ended
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

from shmperf.session.settings import ToolSampling
from shmperf.shm.segment import Segment

from .tool import UNBOUND, Reached, Tool

__all__ = ["Recorder", "Sampled", "Sampler", "provide_sampler", "settle_sampler"]

# What a wrapper needs: session word, session, words, the counter's place, numbers for it, the
# duration from which a call is recorded all the same (0: nobody looks), and the sampler.
Sampled = tuple[int, memoryview, memoryview, int, Iterator[int], int, "Sampler"]

_MOST_CALLS = 1 << 40
# The low bits of its numbers are hardly random.
_WORD, _LOW = 1 << 64, 1 << 33
_nothing = memoryview(bytearray(8)).cast("Q")


class Recorder(Reached):
    """What a wrapper records a chosen call by: a tool's tuple, kept beside the tool."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name
        self.bound = UNBOUND
        self.sampled = None


class Sampler(Reached):
    """
    The sampling of one tool in one process.

    It stands in the tool's place in the wrappers of plain functions: its ``bound`` is always None,
    so that they look at ``sampled``, which is None while tracking is off.
    """

    __slots__ = (
        *("choice", "ended", "every", "name", "place", "recorder"),
        *("slow_ns", "words", "_state"),
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.bound = None
        self.recorder = Recorder(name)
        self._state = 1
        self.forget(off=False)

    def forget(self, *, off: bool) -> None:
        """Back to before the first call, without a counter; as `Tool.forget`."""
        self.words = _nothing
        self.place = 0
        self.every = 0
        self.slow_ns = 0
        self.ended: Iterator[int] = iter(())
        self.choice: Iterator[None] = repeat(None, 0)
        self.recorder.bound = UNBOUND
        self.close(off=off)

    def close(self, *, off: bool) -> None:
        """Send every wrapper the long way, where it learns what holds now; *off* as elsewhere."""
        self.sampled = None if off else (-1, *_CLOSED, self)

    def count_in(self, words: memoryview, place: int, seed: int) -> None:
        """Count in that *place* of *words* from now on; *seed* is this process's own."""
        self.words, self.place = words, place
        self.ended = iter(range(words[place] + 1, _MOST_CALLS))
        self._state = (seed + hash(self.name)) % _WORD

    def open(self, word: int, session: memoryview, every: int, slow_ns: int) -> None:
        """From now on one of *every* calls; those above *slow_ns* all the same, if it is not 0."""
        if every != self.every:
            self.every = every
            self.choice = repeat(None, self._drawn(every))
        self.slow_ns = slow_ns
        # point below: sampler-open
        self.sampled = (word, session, self.words, self.place, self.ended, slow_ns, self)

    def draw(self) -> None:
        """After a call that is recorded: how many follow that are not."""
        self.choice = repeat(None, self._drawn(2 * self.every - 1))

    def passes(self) -> bool:
        """True when the call that begins now gets no record."""
        for _ in self.choice:
            return True
        self.draw()
        return False

    def _drawn(self, below: int) -> int:
        # Knuth's MMIX generator: nobody's random state is touched.
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % _WORD
        return self._state // _LOW % below


# In a wrapper's tuple, where no session word fits.
_CLOSED = (_nothing, _nothing, 0, iter(()), 0)


def provide_sampler(tool: Tool, segment: Segment | None) -> bool:
    """Give *tool* a sampler that counts in *segment*; False without memory for it. Guarded."""
    if segment is None:
        return False
    if tool.sampler is None:
        tool.sampler = Sampler(tool.name)
    if not tool.sampler.place:
        place = segment.add_counter(next(iter(tool.callees.values()), 0))
        if place is None:
            return False
        tool.sampler.count_in(segment.words, place, segment.epoch)  # point: sampler-counter
    return True


def settle_sampler(tool: Tool, session: memoryview, found: ToolSampling) -> None:
    """Let the wrappers of *tool* know whether it is sampled, for its session word. Guarded."""
    if tool.sampler is None:
        return
    if tool.route.is_sampled:
        tool.sampler.open(tool.word, session, found.every, found.slow_ns)
    else:
        tool.sampler.close(off=False)
