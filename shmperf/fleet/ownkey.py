"""
What one node alone writes at the broker: each value on top of the one it wrote before, or told.

A node's own key is written by compare-and-set, so a revision that it has not written itself is
another's: two nodes of one name on copies of one storage. That is counted, and the next value goes
on top: who of them is right nobody here can know. A value whose answer was lost on the way is
found again by what it holds, and is no stranger's.

    killed after …            the next one
    the value is put          takes up the revision that it finds: one publisher a node at a time
"""

from __future__ import annotations

from shmperf.errors import FormatError

from .engine import Engine, Stale
from .pieces import cut, head_of, piece_key

__all__ = ["OwnKey", "OwnState"]


class OwnKey:
    """One key of a bucket; one thread. Its methods raise what the engine raises."""

    def __init__(self, engine: Engine, bucket: str, key: str) -> None:
        self.key = key
        self.strangers = 0
        self._engine = engine
        self._bucket = bucket
        self._revision: int | None = None
        self._tried = b""

    @property
    def revision(self) -> int:
        """Of what is there, as far as this node knows."""
        return self._revision or 0

    def put(self, value: bytes) -> None:
        """Write *value* on top of what was written last."""
        for _ in range(3):
            if self._revision is None:
                self._revision = self._look()
            before, self._tried = self._tried, value
            try:
                self._revision = self._engine.put(self._bucket, self.key, value, self._revision)
                return
            except Stale:
                found = self._engine.get(self._bucket, self.key)
                self._revision = 0 if found is None else found.revision
                if found is not None and found.value not in {before, value}:
                    self.strangers += 1
                if found is not None and found.value == value:
                    return
        raise Stale(f"{self.key}: somebody else writes it all the time")

    def read(self) -> bytes | None:
        """What is there now, by whoever wrote it; it counts as written by this node."""
        found = self._engine.get(self._bucket, self.key)
        self._revision = 0 if found is None else found.revision
        return None if found is None else found.value

    def _look(self) -> int:
        found = self._engine.get(self._bucket, self.key)
        return 0 if found is None else found.revision


class OwnState:
    """A state of any size under a key of its own (see `pieces`); one thread."""

    def __init__(self, engine: Engine, bucket: str, key: str) -> None:
        self._engine = engine
        self._bucket = bucket
        self._head = OwnKey(engine, bucket, key)
        self._generation: int | None = None

    @property
    def strangers(self) -> int:
        """How often somebody else had written there."""
        return self._head.strangers

    def put(self, content: bytes) -> None:
        """Let *content* be the state: all of it, or what was there stays."""
        if self._generation is None:
            self._generation = self._known_generation()
        generation = self._generation + 1
        made = cut(content, generation)
        for number, piece in enumerate(made.pieces):
            place = piece_key(self._head.key, generation, number)
            self._engine.put(self._bucket, place, piece)
        self._head.put(made.head)
        self._generation = generation

    def _known_generation(self) -> int:
        value = self._head.read()
        try:
            return 0 if value is None else head_of(value).generation
        except FormatError:
            # What is no head is nobody's, and is replaced.
            return 0
