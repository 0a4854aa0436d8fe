"""
The messages of a partition for its holder: in the order of the stream, each once, without a gap.

A consumer of the holder's own begins where the manifest ends. What it gives is numbered: where a
number is missing, an answer got lost, and what was in it would come half a minute later, behind
others. Then, as when the broker has forgotten the consumer, it is to begin anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from .engine import Engine, EngineError, Taken

__all__ = ["Feed"]

_AT_ONCE = 64


class Feed:
    """One consumer of one partition; one thread."""

    def __init__(self, engine: Engine, partition: int) -> None:
        """Nothing is asked yet."""
        self._engine = engine
        self._partition = partition
        self._name = ""
        self._order = 0
        self._ahead: list[Taken] = []

    @property
    def is_open(self) -> bool:
        """It has begun, and has not failed since."""
        return bool(self._name)

    def begin(self, name: str, first: int) -> None:
        """Give what there is from the message *first* on, under *name*, for the first time."""
        self._name, self._order, self._ahead = "", 0, []
        self._engine.drop_consumer(name)
        self._engine.make_consumer(name, self._partition, max(1, first))
        self._name = name  # point: fleet-follow

    def take(self, wait_s: float) -> list[Taken] | None:
        """What is next; None where something got lost on the way: to begin anew."""
        if self._ahead:
            ahead, self._ahead = self._ahead, []
            return ahead
        try:
            came = self._engine.take(self._name, _AT_ONCE, wait_s)
        except EngineError:
            self._name = ""
            raise
        first = self._order + 1
        self._order += len(came)
        return came if [one.order for one in came] == list(range(first, self._order + 1)) else None

    def give_back(self, rest: Sequence[Taken]) -> None:
        """The next `take` begins with these."""
        self._ahead = list(rest)

    @property
    def has_ahead(self) -> bool:
        """Something was given back."""
        return bool(self._ahead)

    def is_exhausted(self, taken: int) -> bool:
        """
        Nothing is to come, and no more than *taken* messages are under way; raises EngineError.

        What else is under way is an answer that got lost.
        """
        found = self._engine.backlog(self._name)
        return not self._ahead and not found.waiting and found.unacknowledged <= taken

    def settle(self, good: Sequence[Taken], bad: Sequence[Taken]) -> None:
        """Acknowledge, and terminate what is of no use."""
        self._engine.acknowledge(good)
        self._engine.terminate(bad)  # point: fleet-acknowledged
