"""Two tools are called, then one; a line wakes the other for a call, and the next ends it."""

import select
import sys
import time

import shmperf

_LEARNT_S = 55.0


@shmperf.track
def fetch() -> None:
    """Falls silent."""


@shmperf.track
def poll() -> None:
    """Goes on."""


def is_told() -> bool:
    """True once a line has come; it takes a moment."""
    return bool(select.select([sys.stdin], [], [], 0.05)[0])


fetch()
print("ready", flush=True)
until_s = time.monotonic() + _LEARNT_S
while time.monotonic() < until_s:
    fetch()
    poll()
    is_told()
while not is_told():
    poll()
fetch()
sys.stdin.readline()
sys.stdin.readline()
