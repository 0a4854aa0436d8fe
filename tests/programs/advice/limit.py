"""``busy`` turns over its limit many times in a run; the others keep all, or a part of a run."""

import time

import rig

import shmperf


@shmperf.track
def busy(number):
    pass


@shmperf.track
def archived(number):
    pass


@shmperf.track
def roomy(number):
    pass


def work():
    begin = time.perf_counter()
    for number in range(1_000):
        busy(number)
        archived(number)
        roomy(number)
    took.append(time.perf_counter() - begin)


took = []
rig.tell(work, lambda: took[0] * 10 / 1_000)
