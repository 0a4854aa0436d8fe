"""Calls of two tools in a session that nobody drains: prints what the program is told of them."""

from __future__ import annotations

import json
import logging

import shmperf

told: list[str] = []


class Noted(logging.Handler):
    """Keeps what is told to the program."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        told.append(record.getMessage())


@shmperf.track
def first(n: int) -> int:
    """A call."""
    return n


@shmperf.track
def second(n: int) -> int:
    """Another one."""
    return n


def main() -> None:
    """Call until rings are full, and on."""
    logging.getLogger("shmperf").addHandler(Noted())
    for n in range(60_000):
        first(n)
        second(n)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
