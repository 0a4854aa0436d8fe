"""
A consumer of the outbox beside the rounds of killed collectors: it is killed and slowed, too.

What it takes it writes down where another system would have it: a number and an id a line. At the
end each number stands for one id, however often it was sent, no number is missing, and the ids are
those of the history.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter

from shmperf.storage.consumer import Consumer

from .books import Tally
from .consume import CONSUMER
from .nursery import Nursery
from .place import Place

__all__ = ["Handing"]

_ENDING_S = 20.0


class Handing:
    """The consumer of one place, one process after the other."""

    def __init__(self, place: Place, nursery: Nursery, tally: Tally, rng: random.Random) -> None:
        """Registers it, so that everything from now on is for it."""
        self._place, self._nursery, self._tally, self._rng = place, nursery, tally, rng
        self._received = place.path / "received"
        self._pid = 0
        consumer = Consumer(place.storage, CONSUMER)
        consumer.register()
        consumer.close()

    def strike(self) -> None:
        """kill -9 of the one that runs, now and then, and another one when none runs."""
        if self._pid in self._nursery.alive and self._rng.random() < 0.5:
            self._kill()
        if self._pid not in self._nursery.alive:
            self._pid = self._start(is_last=False)

    def check(self, what: str) -> None:
        """The last one reads to the end; what it has got is compared to the history."""
        if self._pid in self._nursery.alive:
            self._kill()
        last = self._start(is_last=True)
        ended = self._nursery.wait_for(last, _ENDING_S)
        if ended is None or ended.status:
            self._tally.blame(f"{what}: the last consumer ended with {ended}")
            return
        got = self._read(what)
        if sorted(got) != list(range(len(got))):
            self._tally.blame(f"{what}: numbers are missing among {len(got)} that were handed on")
        times = Counter(got.values())
        if doubled := times.total() - len(times):
            self._tally.doubled += doubled
            self._tally.blame(f"{what}: {doubled} calls were handed on under two numbers")
        history = {call_id for call_id, *_ in self._place.lines()}
        if history != times.keys():
            missing, more = len(history - times.keys()), len(times.keys() - history)
            self._tally.lost += missing
            self._tally.blame(f"{what}: {missing} calls not handed on, {more} that are not there")

    def _read(self, what: str) -> dict[int, int]:
        got: dict[int, int] = {}
        for row in self._received.read_text().splitlines():
            number, _, text = row.partition(" ")
            if number == "dropped":
                if int(text):
                    self._tally.blame(f"{what}: {text} lines dropped")
            elif got.setdefault(int(number), int(text, 16)) != int(text, 16):
                self._tally.blame(f"{what}: line {number} was another one the second time")
        return got

    def _start(self, *, is_last: bool) -> int:
        spec = self._place.child(
            "consume",
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
