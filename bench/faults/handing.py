"""
A consumer of the outbox beside the rounds of killed collectors: it is killed and slowed, too.

What it takes it writes down where another system would have it: a number and an id a line. At the
end each number stands for one id, however often it was sent, and the ids are those of the history:
all but the dropped ones, which are counted, since the outbox may hold little here.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import Any

from shmperf.storage.consumer import Consumer

from .books import Tally
from .consume import CONSUMER
from .nursery import Nursery
from .place import Place
from .points import points_in

__all__ = ["Handing"]

_ENDING_S = 20.0
# What comes between the calls: it has no id.
_OTHERS = frozenset({"totals", "alert"})
# Files begun and deleted are few in a collector's life: its points are drawn here, too.
_POINTS = sorted(points_in("storage/outbox.py"))
(_ACKNOWLEDGE,) = points_in("storage/consumer.py")


class Handing:
    """The consumer of one place, one process after the other."""

    def __init__(self, place: Place, nursery: Nursery, tally: Tally, rng: random.Random) -> None:
        """Registers it, so that everything from now on is for it."""
        self._place, self._nursery, self._tally, self._rng = place, nursery, tally, rng
        self._received = place.path / "received"
        self._pid = 0
        self._has_trap = False
        consumer = Consumer(place.storage, CONSUMER)
        consumer.register()
        consumer.close()

    def strike(self) -> None:
        """kill -9 of the one that runs, now and then, and another one when none runs."""
        if self._pid in self._nursery.alive and self._rng.random() < 0.5:
            self._kill()
        elif self._pid and self._has_trap and self._pid not in self._nursery.alive:
            self._tally.tried += 1
            self._tally.points[_ACKNOWLEDGE] += 1
        if self._pid not in self._nursery.alive:
            self._pid = self._start(is_last=False)

    def draw(self) -> list[Any] | None:
        """Where the collector is killed as it writes the outbox; as often as not, nowhere."""
        if self._rng.random() < 0.5:
            return None
        return [self._rng.choice(_POINTS), self._rng.randint(1, 3), "kill"]

    def check(self, what: str) -> None:
        """The last one reads to the end; what it has got is compared to the history."""
        if self._pid in self._nursery.alive:
            self._kill()
        last = self._start(is_last=True)
        ended = self._nursery.wait_for(last, _ENDING_S)
        if ended is None or ended.status:
            self._tally.blame(f"{what}: the last consumer ended with {ended}")
            return
        got, sent, dropped = self._read(what)
        calls = [name for name in got.values() if name not in _OTHERS]
        others = len(got) - len(calls)
        times = Counter(int(name, 16) for name in calls)
        if doubled := times.total() - len(times):
            self._tally.doubled += doubled
            self._tally.blame(f"{what}: {doubled} calls were handed on under two numbers")
        history = {call_id for call_id, *_ in self._place.lines()}
        missing, more = len(history - times.keys()), len(times.keys() - history)
        if more or missing > dropped or sent - others + dropped < len(history):
            self._tally.lost += max(0, missing - dropped)
            self._tally.blame(
                f"{what}: of {len(history)} calls {missing} were not handed on, {dropped} counted"
                f" as dropped and {sent} as sent; {more} are not in the history"
            )

    def _read(self, what: str) -> tuple[dict[int, str], int, int]:
        """What has come, by number; how much was acknowledged, and how much dropped."""
        got: dict[int, str] = {}
        told: dict[str, int] = {}
        for row in self._received.read_text().splitlines():
            number, _, text = row.partition(" ")
            if number in ("sent", "dropped"):
                told[number] = int(text)
            elif got.setdefault(int(number), text) != text:
                self._tally.blame(f"{what}: line {number} was another one the second time")
        return got, told["sent"], told["dropped"]

    def _start(self, *, is_last: bool) -> int:
        self._has_trap = not is_last and self._rng.random() < 0.5
        trap = [_ACKNOWLEDGE, self._rng.randint(1, 20), "kill"] if self._has_trap else None
        spec = self._place.child(
            "consume",
            trap=trap,
            storage=str(self._place.storage),
            received=str(self._received),
            seed=self._rng.getrandbits(30),
            is_last=is_last,
        )
        return self._nursery.start(**spec)

    def _kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self._nursery.wait_for(self._pid, _ENDING_S)
        self._tally.tried += 1
