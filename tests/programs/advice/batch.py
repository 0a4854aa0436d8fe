"""``load`` calls ``read`` for each of many keys, and ``poll`` until something is done."""

import time

import rig

import shmperf


@shmperf.track
def read(key):
    with rig.timed("read"):
        time.sleep(0.002)


@shmperf.track
def poll(job):
    time.sleep(0.002)


@shmperf.track
def load(page):
    for number in range(10):
        read(f"{page}.{number}")
    for _ in range(10):
        poll("the same")


def work():
    for page in range(5):
        load(page)


rig.tell(work, lambda: 5 * 9 * min(rig.LEDGER["read"]))
