"""Tests whose tool takes as long as it is told, by the clock of the process: work, not sleep."""

import os
import time

import shmperf

LEAST_NS = 50_000


@shmperf.track
def planted() -> None:
    """Works for a time that only the planted factor changes by much."""
    until = time.thread_time_ns() + LEAST_NS * int(os.environ["FACTOR"])
    while time.thread_time_ns() < until:
        pass


def test_planted() -> None:
    for _ in range(300):
        planted()
