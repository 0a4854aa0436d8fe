"""
The newest calls of one tool between two frames: slots until then, and decoded only if left.

The compiled path keeps the words of a slot, and decodes what is simple; this is the same in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shmperf.analysis.limits import Newest
from shmperf.compiled.chosen import hot
from shmperf.shm.record import Call, Slot
from shmperf.shm.ring import Batch

from .bodies import Template
from .drain import WorkerDrain

__all__ = ["Decode", "Kept", "kept_of"]

# Makes a call of a slot, drained when its worker had been looked at so often.
Decode = Callable[[Slot, WorkerDrain, int], Call]
TemplateOf = Callable[[WorkerDrain, int], Template]
# A kept record: end, id, slot, worker, and how often the worker had been looked at by then.
_Raw = tuple[int, int, Slot, WorkerDrain, int]


class Kept:
    """At most *limit* calls, the newest; -1 keeps all. The collector's thread."""

    __slots__ = ("_limit", "_newest")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._newest: Newest[_Raw] = Newest(limit)

    def __len__(self) -> int:
        """How many `take` would return."""
        return len(self._newest)

    def add(self, batch: Batch, worker: WorkerDrain, done: int) -> None:
        """Consider *batch* of *worker*, which had been looked at *done* times."""
        slots = batch.newest(self._limit)
        self._newest.add([(slot[3], slot[0], slot, worker, done) for slot in slots])

    def take(
        self,
        known: Mapping[int, Call],
        decode: Decode,
        _template_of: TemplateOf,
        _needles: object,
        _offset_ns: int,
        _latest_ns: int,
    ) -> list[Call]:
        """
        The newest calls, oldest first; afterwards there is none.

        Those in *known*, by id, as they are there, all others by *decode*. The rest is what the
        compiled path decodes after.
        """
        return [
            known.get(call_id) or decode(slot, worker, done)
            for _, call_id, slot, worker, done in self._newest.take()
        ]


def kept_of(limit: int) -> Kept:
    """One of the path that runs."""
    found: Kept = Kept(limit) if hot is None else hot.Kept(limit)
    return found
