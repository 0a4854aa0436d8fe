"""What a child does that takes lines from the outbox and sends them somewhere."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import msgspec

from shmperf.storage.consumer import Consumer

__all__ = ["CONSUMER", "consume"]

CONSUMER = "campaign"


class _Data(msgspec.Struct):
    id: str


class _Line(msgspec.Struct):
    kind: str
    # Only calls have it.
    data: _Data | None = None

    @property
    def name(self) -> str:
        """The call's id; of another line what it is."""
        return self.kind if self.data is None else self.data.id


_decode = msgspec.json.Decoder(_Line).decode


def consume(spec: dict[str, Any]) -> None:
    """In a child: send what is there, one way or another, until it is killed or told to end."""
    rng = random.Random(spec["seed"])  # noqa: S311  seeded
    consumer = Consumer(Path(spec["storage"]), CONSUMER)
    consumer.register()
    fd = os.open(spec["received"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        taken = consumer.read(rng.choice([1, 10, 1000]))
        if taken is None:
            if spec["is_last"]:
                break
            time.sleep(0.002)
            continue
        rows = [f"{n} {_decode(line).name}\n" for n, line in enumerate(taken.lines, taken.number)]
        os.write(fd, "".join(rows).encode())
        if rng.random() < 0.1:
            time.sleep(0.05)
        consumer.acknowledge(taken)
    os.write(fd, f"sent {consumer.sent}\ndropped {consumer.dropped}\n".encode())
