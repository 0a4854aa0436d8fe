"""A tool that is quick, and then hangs in its caller until it is told to go on."""

import sys

import shmperf


@shmperf.track
def fetch(is_last: bool) -> None:
    """Waits for a line, the last time."""
    if is_last:
        sys.stdin.readline()


@shmperf.track
def answer(is_last: bool) -> None:
    """Its caller."""
    fetch(is_last)


for _ in range(70):
    answer(False)
answer(True)
sys.stdin.readline()
