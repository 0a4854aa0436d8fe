"""Calls one tool for ever."""

import shmperf


@shmperf.track
def load():
    sum(range(300))


while True:
    load()
