"""A tool that is quick, and then hangs in its caller until it is told to go on."""

import sys

import shmperf


@shmperf.track
def fetch(number: int, is_last: bool, api_key: str) -> None:
    """Waits for a line, the last time."""
    if is_last:
        sys.stdin.readline()


@shmperf.track
def answer(number: int, is_last: bool) -> None:
    """Its caller."""
    fetch(number, is_last, "hidden")


for number in range(70):
    answer(number, False)
answer(70, True)
sys.stdin.readline()
