"""What outsiders saw of a program's calls: prints what its own counts say, and the statistics."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from dataclasses import dataclass

import shmperf

reprs = 0
told: list[str] = []


class Noted(logging.Handler):
    """Keeps what is told to the program."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        told.append(record.getMessage())


class Counted:
    """Counts how often it is shown."""

    def __repr__(self) -> str:
        global reprs
        reprs += 1
        return "Counted()"


@dataclass
class Login:
    """What a program keeps together."""

    user: str
    apiKey: str  # noqa: N815  as other languages spell it


@shmperf.track
def waits(seconds: float) -> None:
    """A call that takes so long."""
    time.sleep(seconds)


@shmperf.track
def fails(n: int) -> None:
    """One that fails."""
    raise ValueError(f"number {n}")


@shmperf.track
def leaves() -> None:
    """One that ends its program, and all is well."""
    raise SystemExit(0)


@shmperf.track
def given(*args: object, **kwargs: object) -> None:
    """One with whatever parameters."""


def main() -> None:
    """One call of each kind that was told wrongly."""
    logging.getLogger("shmperf").addHandler(Noted())
    waits(0.2)
    for _ in range(150):
        waits(0)
    for n in range(22):
        try:
            fails(n)
        except ValueError:
            pass
    try:
        leaves()
    except SystemExit:
        pass
    given(deque(Counted() for _ in range(20_000)))
    given(apiKey="hunter-one", login=Login("me", "hunter-two"), header="Bearer hunter-three")
    print(json.dumps([reprs, shmperf.get_perf_stats()["tool_stats"], told]))


if __name__ == "__main__":
    main()
