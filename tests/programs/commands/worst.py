"""A few calls that tell something, and many that push them out of the history."""

import sys
import time

import shmperf


@shmperf.track
def inner(n):
    return n


@shmperf.track
def outer(n):
    inner(n)
    if n == 3:
        time.sleep(0.05)
        inner(n)


@shmperf.track
def bad(n):
    if n % 10 == 0:
        raise KeyError(n)


for number in range(500):
    outer(number)
    try:
        bad(number)
    except KeyError:
        pass
shmperf.flush()
print("ready", flush=True)
if len(sys.argv) > 1:
    input()
    outer(4)
