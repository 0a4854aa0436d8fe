"""
What was taken of a partition and is not stored yet: messages, and their lines that are new.

    message ──► batch ──► numbers that are in no range of its (node, origin) ──► lines to store
                  └ no batch of ours, a newer one, damaged: counted

Pure. Exactly once rests on these ranges, and on nothing that the broker remembers: the same line in
another cut, by another id, a week later, is nothing new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from shmperf.errors import FormatError

from .engine import Taken
from .manifest import StoredOrigin
from .ranges import Ranges
from .wire import Batch, decode, lines_of, partition_of

__all__ = ["Cut", "Part"]

# What a cut has at most; the consumer's bound of unacknowledged messages is larger.
_MOST_LINES, _MOST_BYTES, _MOST_MESSAGES = 20_000, 32 << 20, 500
# Of one storage: more parts than that are nobody's outbox.
_MOST_RANGES = 20_000
# Of dropped ones: beyond so many only the latest are told apart from what was taken.
_MANY_DROPPED, _FEW_DROPPED = 1_000, 500


class Part(NamedTuple):
    """The lines of a message that are new; *storage* is whose ids their calls have."""

    node: str
    origin: str
    storage: str
    lines: list[tuple[int, bytes]]


class _Books:
    """What is known of a node's storage; grows with each message."""

    def __init__(self, known: StoredOrigin) -> None:
        self.node, self.origin = known.node, known.origin
        self.taken, self.dropped = Ranges(known.taken), Ranges(known.dropped)
        self.left_out, self.settled = known.left_out, known.settled
        self.is_late = known.is_late

    def add(self, batch: Batch, lines: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """The lines of *batch* that are new."""
        if len(self.taken.encode()) >= _MOST_RANGES and batch.first > self.taken.end:
            raise FormatError("found numbers that are scattered as no outbox has them")
        self.dropped.add(max(0, batch.first - batch.dropped), batch.first)
        new = self.taken.add(batch.first, batch.after)
        if new == [(batch.first, batch.after)]:
            found = list(lines)
        else:
            inside = Ranges(new)
            found = [(number, line) for number, line in lines if number in inside]
        self.left_out += sum(after - first for first, after in new) - len(found)
        return found

    def told(self) -> StoredOrigin:
        """As a manifest has it: of what was told as dropped, that which never came after all."""
        dropped = [part for one in self.dropped for part in self.taken.missing(*one)]
        taken, settled = self.taken, self.settled
        if len(dropped) > _MANY_DROPPED:
            old, dropped = dropped[:-_FEW_DROPPED], dropped[-_FEW_DROPPED:]
            taken = Ranges([*taken, *old])
            settled += sum(after - first for first, after in old)
        return StoredOrigin(
            self.node,
            self.origin,
            taken.encode(),
            self.left_out,
            dropped,
            self.is_late,
            settled,
        )


class Cut:
    """Messages of one partition from *next* on, and what they add to what is stored."""

    def __init__(self, origins: Sequence[StoredOrigin], partition: int, partitions: int) -> None:
        """Nothing yet, beside the *origins* that are stored."""
        self.parts: list[Part] = []
        self.taken: list[Taken] = []
        self.refused: Counter[str] = Counter()
        self.lines = self.size_bytes = 0
        self._bad: set[int] = set()
        self._partition, self._partitions = partition, partitions
        self._books = {(one.node, one.origin): _Books(one) for one in origins}

    def add(self, taken: Taken, *, is_late: bool) -> tuple[str, str]:
        """
        Take up a message; if it is no batch of ours, what kind of thing it is, and why.

        *is_late* when the stream has let messages go: of a storage that is not known yet, lines
        may be missing before the first.
        """
        self.taken.append(taken)
        try:
            batch = self._decoded(taken.body)
            key = (batch.node, batch.origin.hex())
            lines = lines_of(batch)
            books = self._books.get(key) or _Books(StoredOrigin(*key, is_late=is_late))
            new = books.add(batch, lines)
        except FormatError as error:
            kind = _kind_of(error)
            self._bad.add(taken.sequence)
            self.refused[kind] += 1
            return kind, str(error)
        self._books[key] = books
        if new:
            self.parts.append(Part(*key, (batch.storage or batch.origin).hex(), new))
            self.lines += len(new)
            self.size_bytes += sum(len(line) for _, line in new)
        return "", ""

    @property
    def is_full(self) -> bool:
        """No more should come."""
        return (
            self.lines >= _MOST_LINES
            or self.size_bytes >= _MOST_BYTES
            or len(self.taken) >= _MOST_MESSAGES
        )

    def origins(self) -> list[StoredOrigin]:
        """What is stored when this is."""
        return [books.told() for books in self._books.values()]

    def parted(self) -> tuple[list[Taken], list[Taken]]:
        """The messages: batches, and others."""
        bad = self._bad
        good = [one for one in self.taken if one.sequence not in bad]
        return good, [one for one in self.taken if one.sequence in bad]

    def _decoded(self, body: bytes) -> Batch:
        batch = decode(body)
        if partition_of(batch.node, self._partitions) != self._partition:
            raise FormatError("found a batch in a partition that is not its node's")
        return batch


def _kind_of(error: FormatError) -> str:
    """What is counted of a message that was refused."""
    text = str(error)
    if "batch of version" in text:
        return "newer"
    return "foreign" if "no batch" in text else "damaged"
