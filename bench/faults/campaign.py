"""What the sections share: the seed, the clock, the nursery and the places."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from .books import Least, Tally
from .instrumented import ROOT
from .nursery import Nursery
from .place import Place, wait_until

__all__ = ["Campaign", "Sample"]

# How many times as long a section may go on until it has done what it must.
_PATIENCE = 4
_NOTHING = Least(0)

# So few lines make a segment that they move all the time.
KEEP_ALL = (
    "default_perf_points: -1\n"
    "optimization: {trigger_threshold: 0}\n"
    "history: {segment_lines: 100}\n"
    "storage: {flush_interval_seconds: 0.1}\n"
)
IN_DETAIL = KEEP_ALL.replace("trigger_threshold: 0", "trigger_threshold: 0, enabled: true")


class Sample(msgspec.Struct):
    """Which points a kind of child reaches how often; from a run of it that nobody disturbs."""

    counts: Counter[str]
    _deck: list[str] = []

    def draw(self, rng: random.Random, action: str) -> list[Any]:
        """A point, none a second time before all have had their turn, and when to stop there."""
        if not self._deck:
            self._deck = sorted(self.counts)
            rng.shuffle(self._deck)
        name = self._deck.pop()
        return [name, rng.randint(1, min(self.counts[name], rng.choice([1, 3, 30]))), action]


class Campaign:
    """One run of the campaign."""

    def __init__(
        self,
        base: Path,
        seed: int,
        least: Least = _NOTHING,
        *,
        root: Path = ROOT,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base = base
        self.seed = seed
        self.rng = random.Random(seed)  # noqa: S311  seeded
        self.nursery = Nursery(root)
        self._least = least
        self._clock = clock
        self._tally = Tally("")
        self._began = self._seconds = 0.0
        self._places = 0
        self._verbose = verbose

    def begin(self, seconds: float, section: str) -> Tally:
        """A section of so many seconds begins; it has its own course of random numbers."""
        self.rng = random.Random(f"{self.seed} {section}")  # noqa: S311  seeded
        self._began, self._seconds = self._clock(), seconds
        self._tally = Tally(section)
        return self._tally

    def close(self) -> None:
        """End the nursery."""
        self.nursery.close()

    @property
    def is_over(self) -> bool:
        """True when the section's time is up, and it has done what it must or can't."""
        passed = self._clock() - self._began
        if passed > self._seconds * _PATIENCE:
            return True
        return passed > self._seconds and not self._tally.lacks(self._least, self._seconds)

    @contextmanager
    def place(self, tally: Tally, config: str = KEEP_ALL) -> Iterator[Place]:
        """
        A private place; what is left behind in it at the end is counted, then all is removed.

        With something wrong it stays, for people to look at, when the campaign is verbose.
        """
        self._places += 1
        found = len(tally.wrong)
        place = Place(self.base / f"{self._places}", config)
        descriptors = self.nursery.descriptors()
        try:
            yield place
        finally:
            self.nursery.kill_all()
            if not place.end_sessions(self.nursery):
                tally.blame(f"sessions did not end: {[path.name for path in place.sessions()]}")
            # A collector may be on its last steps when its session's directory has gone.
            wait_until(lambda: not place.left_behind(), 5.0)
            left = place.left_behind()
            if self.nursery.descriptors() != descriptors:
                left.append("descriptors of the nursery")
            tally.leaked += len(left)
            for text in left:
                tally.blame(f"left behind: {text}")
            if place.errors:
                tally.blame(f"a child said: {place.errors[-1500:]}")
            if len(tally.wrong) == found or not self._verbose:
                place.remove()
            elif self._verbose:
                sys.stderr.write(f"{place.path}\n" + "\n".join(tally.wrong[found:]) + "\n")
