"""What a fleet's stream holds, taken as whoever stores it does: each number of an origin once."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from shmperf.fleet.engine import Engine, Taken
from shmperf.fleet.ranges import Ranges
from shmperf.fleet.wire import Batch, decode, lines_of, partition_of
from shmperf.storage.outbox import Outbox

__all__ = ["Everything", "add", "fill"]


class Everything:
    """All that was published by one node so far, by origin and number."""

    def __init__(self, engine: Engine, node: str) -> None:
        self.lines: dict[bytes, dict[int, bytes]] = defaultdict(dict)
        self.have: dict[bytes, Ranges] = defaultdict(Ranges)
        self.batches: list[Batch] = []
        self.messages: list[Taken] = []
        self._engine = engine
        self._partition = partition_of(node, 16)

    def take(self) -> Everything:
        """Take what is there now; nothing before anybody has published."""
        if self._engine.look() is None:
            return self
        self._engine.make_consumer("everything", self._partition)
        while taken := self._engine.take("everything", 100, 0):
            for one in taken:
                self._keep(decode(one.body))
            self.messages += taken
            self._engine.acknowledge(taken)
        return self

    def _keep(self, batch: Batch) -> None:
        self.batches.append(batch)
        new = Ranges(self.have[batch.origin].add(batch.first, batch.after))
        for number, line in lines_of(batch):
            if number in new:
                self.lines[batch.origin][number] = line
            else:
                # Whatever comes again means the same line.
                assert self.lines[batch.origin][number] == line

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls, in the order of origin and number; each may be read as history shows it."""
        return [
            found
            for lines in self.lines.values()
            for _, line in sorted(lines.items())
            if (found := json.loads(line))["kind"] == "call"
        ]


def fill(storage: Path, *texts: str, most_bytes: int = 1 << 20) -> Outbox:
    """An outbox with those lines, as a collector leaves it; one that is there goes on."""
    outbox = Outbox(storage)
    outbox.restore(outbox.state)
    add(outbox, *texts, most_bytes=most_bytes)
    return outbox


def add(outbox: Outbox, *texts: str, most_bytes: int = 1 << 20) -> None:
    """More lines."""
    outbox.prepare(most_bytes)
    outbox.append("".join(f"{text}\n" for text in texts).encode())
    outbox.commit()
