"""Calls, one inside the other, until standard input ends; prints how many of each there were."""

import sys
import threading
import time

import shmperf


@shmperf.track
def inner(text):
    time.sleep(0.001)


@shmperf.track
def outer(number):
    inner("x" * 1_000)


def count():
    number = 0
    while reader.is_alive():
        outer(number)
        number += 1
    return number


reader = threading.Thread(target=sys.stdin.read)
reader.start()
outer(-1)
print("calling", flush=True)
print(count() + 1)
