"""A call that hangs in another process, below two calls of this one."""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import shmperf


@shmperf.track
def hangs(item: int, until: str) -> None:
    Path(until).read_text()


@shmperf.track
def asks(pool: ProcessPoolExecutor, until: str) -> None:
    pool.submit(shmperf.propagate(hangs), 17, until=until).result()


@shmperf.track
def serves(until: str) -> None:
    with ProcessPoolExecutor(1) as pool:
        asks(pool, until)


if __name__ == "__main__":
    serves(sys.argv[1])
