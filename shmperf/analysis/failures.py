"""
Failed calls that nobody caught, by tool, outcome and class: every one of them, kept or not.

Those that were caught have a fingerprint, and stand in `errorgroups`. A class is the name that the
record has; a call whose worker died has none. What comes beyond the bounds is counted all the same,
under `OTHERS`: first classes beyond those of one tool, then tools.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from shmperf.shm.record import Call

from .errorgroups import OTHERS, Bug

__all__ = ["ErrorsKnown", "Failure", "Failures"]

# Tool, outcome, class.
Key: TypeAlias = tuple[str, int, str | None]


class Failure(msgspec.Struct, array_like=True):
    """
    One group: how often, when its calls began (Unix, nanoseconds), and the first as a sample.
    """

    tool: str
    status: int
    err: str | None
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    sample: Call | None = None

    def merge(self, later: Failure) -> None:
        """Add what *later* counted; the sample is the first."""
        self.first_ns = min(self.first_ns or later.first_ns, later.first_ns)
        self.last_ns = max(self.last_ns, later.last_ns)
        self.count += later.count
        self.sample = self.sample or later.sample


class ErrorsKnown(msgspec.Struct):
    """
    All groups: exceptions that were caught, by fingerprint, and the failed calls of no such.

    ``latest`` has later calls than the samples of the latter, where one is kept.
    """

    caught: dict[str, Bug] = {}
    uncaught: list[Failure] = []
    latest: list[Call] = []


class Failures:
    """An analysis (see `table`): ``known`` maps tool, outcome and class to the group, bounded."""

    def __init__(self, most: int = 20_000, most_of_a_tool: int = 50) -> None:
        """At most so many groups are kept apart, and so many classes of one tool."""
        self.known: dict[Key, Failure] = {}
        self._new: dict[Key, Failure] = {}
        self._most = most
        self._most_of_a_tool = most_of_a_tool
        self._classes: Counter[str] = Counter()

    def add(self, failure: Failure) -> None:
        """Count what *failure* says, which is taken over."""
        key = failure.tool, failure.status, failure.err
        known = self._new.get(key)
        if known is None:
            self._new[key] = failure
        else:
            known.merge(failure)

    def lacks_sample(self, tool: str, status: int, err: str | None) -> bool:
        """True as long as no call stands for that group, which is kept apart."""
        key = tool, status, err
        groups = self._new.get(key), self.known.get(self._place(key))
        return all(group is None or group.sample is None for group in groups)

    def take_delta(self) -> list[Failure] | None:
        """What was counted since the last delta."""
        delta, self._new = list(self._new.values()), {}
        if not delta:
            return None
        self.apply(delta)
        return delta

    def apply(self, delta: Iterable[Failure]) -> None:
        """Add *delta*."""
        for failure in delta:
            key = self._place((failure.tool, failure.status, failure.err))
            known = self.known.get(key)
            if known is None:
                known = self.known[key] = Failure(*key)
                self._classes[key[0]] += 1
            known.merge(failure)

    def clear(self) -> None:
        """Forget everything."""
        self.known, self._new = {}, {}
        self._classes.clear()

    def state(self) -> list[Failure]:
        """All groups."""
        return list(self.known.values())

    @classmethod
    def restore(cls, state: list[Failure]) -> Failures:
        """Groups that were written before."""
        found = cls()
        found.apply(state)
        return found

    def _place(self, key: Key) -> Key:
        """The group in which *key* is counted."""
        tool, status, _ = key
        if key in self.known:
            return key
        if len(self.known) >= self._most:
            return OTHERS, status, OTHERS
        if self._classes[tool] >= self._most_of_a_tool:
            return tool, status, OTHERS
        return key
