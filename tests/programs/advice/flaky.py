"""``fetch`` fails now and then; ``parse`` always fails for one of its texts."""

import contextlib
import itertools
import time

import rig

import shmperf

turns = itertools.count()


@shmperf.track
def fetch(key):
    turn = next(turns)
    with rig.timed("failed" if turn % 8 == 0 else "fine"):
        time.sleep(0.002)
        if turn % 8 == 0:
            raise ConnectionError(key)


@shmperf.track
def parse(text):
    if text == "bad":
        raise ValueError(text)


def work():
    for number in range(80):
        with contextlib.suppress(ConnectionError):
            fetch(f"key {number % 3}")
        with contextlib.suppress(ValueError):
            parse("bad" if number % 8 == 0 else "good")


rig.tell(work, lambda: sum(rig.LEDGER["failed"]))
