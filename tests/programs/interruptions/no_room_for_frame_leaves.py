import gc
import json
import os
import sys

import shmperf

made = 0


@shmperf.track
def deep(n):
    global made
    made += 1
    deep(n + 1)


@shmperf.track
def flat():
    return 1


flat()
for limit in range(60, 160):
    # CPython 3.11 can't call what is to be called at a collection either, and prints that: by what
    # is allocated before, in one program of four.
    gc.collect()
    gc.disable()
    sys.setrecursionlimit(limit)
    try:
        deep(0)
    except RecursionError:
        pass
    sys.setrecursionlimit(1000)
    gc.enable()
    flat()
try:
    flat(1)
except TypeError:
    pass

# On a busy machine the collector has much to catch up with.
assert shmperf.flush(float(os.environ["TESTS_DEADLINE_S"]))
print(json.dumps([made, shmperf.get_perf_stats()]))
