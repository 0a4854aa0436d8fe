"""
A collector with one descriptor left meets a dead worker: what it says of it, before and after.

Alone in a process: descriptors are counted here, and nobody else's thread may give one back.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shmperf.storage.writer import Disk
from shmperf.testing import Clock, Room

LONGEST_WAIT_S = float(os.environ["TESTS_DEADLINE_S"])


def patient(storage: Path, clock: Clock) -> Disk:
    """A disk whose work is always done before the collector goes on, however slow it is."""
    return Disk(storage, longest_wait_s=LONGEST_WAIT_S, clock=clock)


@contextmanager
def one_descriptor_left() -> Iterator[None]:
    """Enough for the directory and the presence in turn; mapping takes two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208  numbers, not paths
    # A copy takes the lowest number that is free: beyond `taken` none is in use.
    fillers = [os.dup(0)]
    while fillers[-1] < taken:
        fillers.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 2, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)


def main() -> None:
    """Print the books before and after."""
    room = Room(Path.cwd(), Path(os.environ["XDG_RUNTIME_DIR"]), disk=patient)
    room.turn()
    worker = room.worker()
    for n in range(3):
        worker.call("all", n)
    worker.die()
    with one_descriptor_left():
        room.turn(3)
    waits = worker.presence.exists()
    room.finish()
    stats = room.stats_on_disk()
    found = {"waits": waits, "is_buried": not worker.presence.exists(), "stats": stats}
    json.dump(found, sys.stdout)
    room.close()


main()
