import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import shmperf


@shmperf.track
def search(pause_s, number):
    time.sleep(pause_s)
    if number % 10 == 0:
        raise KeyError("none")


def paced(seed):
    rng = random.Random(seed)  # noqa: S311  seeded
    for number in range(calls // THREADS):
        try:
            search(rng.lognormvariate(-6.2, 0.5), number)
        except KeyError:
            pass


THREADS = 8
calls = int(sys.argv[1])
print("ready", flush=True)
with ThreadPoolExecutor(THREADS) as pool:
    list(pool.map(paced, range(THREADS)))
sys.stdin.read()
