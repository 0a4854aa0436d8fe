"""``leak`` keeps a quarter of a megabyte of each call; ``use`` gives it back."""

import rig

import shmperf

kept = []


def filled():
    return bytearray(b"x") * (256 << 10)


@shmperf.track
def leak(number):
    kept.append(filled())


@shmperf.track
def use(number):
    filled()


def work():
    for start in range(0, 100, 10):
        for number in range(start, start + 10):
            leak(number)
        for number in range(start, start + 10):
            use(number)


rig.tell(work, lambda: sum(map(len, kept)) / (1 << 20))
