"""One call in 1,500 of ``fetch`` hangs; of ``mixed`` one in fifty is slow; both are told apart."""

import time

import rig

import shmperf


@shmperf.track
def fetch(number):
    with rig.timed("fetch"):
        time.sleep(0.5 if number == 900 else 0.0005)


@shmperf.track
def mixed(number):
    time.sleep(0.02 if number % 50 == 0 else 0.0005)


def work():
    for number in range(1_500):
        fetch(number)
        mixed(number)


rig.tell(work, lambda: max(rig.LEDGER["fetch"]))
