"""``answer`` takes all the time, most of it in ``read``; ``write`` takes little."""

import time

import rig

import shmperf


@shmperf.track
def read(number):
    with rig.timed("read"):
        time.sleep(0.008)


@shmperf.track
def write(number):
    time.sleep(0.001)


@shmperf.track
def answer(number):
    read(number)
    write(number)


def work():
    for number in range(30):
        answer(number)


rig.tell(work, lambda: sum(rig.LEDGER["read"]) / 2)
