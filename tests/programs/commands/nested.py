"""Ten trees of calls whose times stand in a row, one larger than the others."""

import sys
import time

import shmperf


@shmperf.track
def leaf(n: int) -> None:
    time.sleep(0.002)


@shmperf.track
def branch(n: int) -> None:
    leaf(n)
    time.sleep(0.004)
    if n % 5 == 4:
        raise ValueError(n)


@shmperf.track
def root(n: int, times: int) -> None:
    for _ in range(times):
        try:
            branch(n)
        except ValueError:
            pass


@shmperf.track
def waiting() -> None:
    branch(1)
    print("open", shmperf.current(), flush=True)
    sys.stdin.readline()


for number in range(10):
    root(number, 6 if number == 3 else 2)
if sys.argv[1:] == ["wait"]:
    waiting()
