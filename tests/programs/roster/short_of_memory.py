"""
A collector that can't map a worker's memory: what it answers then, and once it can.

Alone in a process, whose address space is limited here.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shmperf.analysis.stats import plain
from shmperf.errors import ShmperfError
from shmperf.session.messages import FiguresOf, Flush, Stats, Status
from shmperf.testing import Room

MAPPED_BYTES = 64 << 20


@contextmanager
def no_address_space() -> Iterator[None]:
    """Room for what is small, and for no segment."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used_bytes = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + MAPPED_BYTES // 2, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def answers(room: Room) -> dict[str, Any]:
    """What is said to each question that promises to know everything that had ended."""
    ask = room.collector.requests.value_for
    try:
        flushed, reason = ask(Flush()), ""
    except ShmperfError as error:
        flushed, reason = False, str(error)
    return {
        "flushed": flushed,
        "reason": reason,
        "stats": plain(ask(Stats())),
        "one": plain(ask(Stats("all"))),
        "figures": ask(FiguresOf()).books.complete,
        "status": plain(ask(Status())),
    }


def main() -> None:
    """Print the answers before and after."""
    room = Room(Path.cwd(), Path(os.environ["XDG_RUNTIME_DIR"]))
    read = room.worker()
    read.call("all", 1)
    room.turn(2)
    worker = room.worker()
    for n in range(3):
        worker.call("all", n)
    with no_address_space():
        room.turn(3)
        short = answers(room)
    room.turn(3)
    json.dump({"short": short, "whole": answers(room)}, sys.stdout)
    room.finish()
    room.close()


main()
