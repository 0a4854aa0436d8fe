"""``tiny`` takes less than its recording, ``slow`` much more; ``rare`` is called rarely."""

import time

import rig

import shmperf


@shmperf.track
def tiny(number):
    return number + 1


@shmperf.track
def slow(number):
    time.sleep(0.0005)


@shmperf.track
def rare(number):
    return number + 1


def work():
    for number in range(1_000):
        tiny(number)
        slow(number)
        if number % 10 == 0:
            rare(number)


rig.tell(work, lambda: 1_000 * 1.4e-6)
