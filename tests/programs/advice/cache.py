"""Two processes: ``search`` is asked the same again and again, ``fetch`` never twice the same."""

import multiprocessing
import time

import rig

import shmperf


@shmperf.track
def search(query):
    with rig.timed(query):
        time.sleep(0.002)


@shmperf.track
def fetch(number):
    time.sleep(0.002)


@shmperf.track
def now():
    time.sleep(0.001)


def work(first):
    """Questions of one process; its ledger."""
    for number in range(first, first + 60):
        search(f"question {number % 3}")
        fetch(number)
        now()
    return dict(rig.LEDGER)


def processes():
    """One after the other, so that the second finds all answers of the first."""
    for first in (0, 1_000):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            for query, taken in pool.apply(work, (first,)).items():
                rig.LEDGER[query] += taken
            pool.close()
            pool.join()


if __name__ == "__main__":
    rig.tell(processes, lambda: sum(sum(taken[1:]) for taken in rig.LEDGER.values()))
