"""Many tasks at once for one thread, and one at a time for several."""

import time
from concurrent.futures import ThreadPoolExecutor

import rig

import shmperf

shmperf.instrument("concurrent.futures")


def crowded(number, submitted_ns):
    begin_ns = time.perf_counter_ns()
    rig.LEDGER["queued"].append((begin_ns - submitted_ns) / 1e9)
    time.sleep(0.003)


def alone(number):
    time.sleep(0.003)


def work():
    with ThreadPoolExecutor(1) as pool:
        for number in range(40):
            pool.submit(crowded, number, time.perf_counter_ns())
    with ThreadPoolExecutor(4) as pool:
        for number in range(40):
            pool.submit(alone, number).result()


rig.tell(work, lambda: sum(rig.LEDGER["queued"]))
