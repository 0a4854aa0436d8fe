"""
A worker's counters of calls without a record: what of them is counted already, by their places.

A counter says how many calls have ended in all, so it matters where a former collector has stopped.
As long as that can't be read, only what is added from now on is counted; the rest waits for the
past. A ring needs none of this: what was taken of it is handed back to the worker.
"""

from __future__ import annotations

from collections.abc import Mapping

from shmperf.shm.segment import Extent, SegmentReader

__all__ = ["LeftOut"]


class LeftOut:
    """The counters of one worker; ``taken`` is up to where each is counted, by its offset."""

    def __init__(self, segment: SegmentReader, taken: Mapping[int, int], *, is_known: bool) -> None:
        """*taken* is where a former collector has stopped, if that *is_known*."""
        self._segment = segment
        self._counters: list[Extent] = []
        self.taken = dict(taken)
        # What had been counted by whoever it was, as it was first seen here.
        self._unknown: dict[int, int] | None = None if is_known else {}

    @property
    def begun(self) -> int:
        """How many calls that are counted here; each began and has ended."""
        return sum(self.taken.values()) - sum((self._unknown or {}).values())

    def add(self, counter: Extent) -> None:
        """Another counter has come."""
        self._counters.append(counter)
        if self._unknown is not None:
            there = self._segment.count(counter)
            self._unknown[counter.offset] = self.taken[counter.offset] = there

    def take(self) -> list[tuple[int, int]]:
        """By number of the callee, the calls that have ended since the last time; once each."""
        news = []
        for counter in self._counters:
            count, known = self._segment.count(counter), self.taken.get(counter.offset, 0)
            # One that goes back is damaged.
            if count > known:
                news.append((counter.key, count - known))
                self.taken[counter.offset] = count  # point: drain-count
        return news

    def settle(self, taken: Mapping[int, int]) -> None:
        """The past is known: *taken* is where it has stopped. What it lacks is taken next."""
        for offset, there in (self._unknown or {}).items():
            self.taken[offset] -= there - min(there, taken.get(offset, 0))
        self._unknown = None
