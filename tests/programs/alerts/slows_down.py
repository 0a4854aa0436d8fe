"""A tool, called by another, that is slow for a while: arguments are seconds of each part."""

import sys
import time

import shmperf


@shmperf.track
def search(seconds: float) -> None:
    """The one that takes its time."""
    time.sleep(seconds)


@shmperf.track
def answer(seconds: float) -> None:
    """One that does nothing but call."""
    search(seconds)


for part, length_s in enumerate(sys.argv[1:]):
    end = time.monotonic() + float(length_s)
    while time.monotonic() < end:
        answer(0.008 if part % 2 else 0.002)
