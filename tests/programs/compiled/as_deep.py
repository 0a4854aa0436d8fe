"""
A recursion as deep as the program allows, of calls that are quick, slow, long, in detail.

Prints the depths that were reached, and the statistics.
"""

import asyncio
import json
import sys
import time

import shmperf

DEPTH = 12_000
sys.setrecursionlimit(10 * DEPTH)


def recursion(name):
    @shmperf.track(name)
    def one(n):
        return n and one(n - 1) + 1

    return one


@shmperf.track
def slow(n):
    if not n:
        # Longer than what is quick: all calls around it are slow.
        time.sleep(0.002)
    return n and slow(n - 1) + 1


@shmperf.track
def long(n, text="x" * 5_000):
    return n and long(n - 1, text) + 1


@shmperf.track
def there(n):
    return n and back(n - 1) + 1


@shmperf.track
def back(n):
    return n and there(n - 1) + 1


first, quick, sampled, unrecorded = map(recursion, ("first", "quick", "sampled", "unrecorded"))
reached = [first(DEPTH)]
for in_detail in (False, True):
    shmperf.set_optimization_mode(in_detail)
    # What was slow shows its parameters from then on, which is another way.
    reached += [slow(1), slow(DEPTH), quick(0), quick(DEPTH), there(DEPTH)]
    reached += [long(0), long(DEPTH), sampled(0), sampled(DEPTH), unrecorded(0), unrecorded(DEPTH)]
    # The wrapper is in C again.
    assert [quick(3), asyncio.run(asyncio.to_thread(quick, 3))] == [3, 3]
print(json.dumps([reached, shmperf.get_perf_stats()]))
