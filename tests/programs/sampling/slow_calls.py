"""
A tool whose slow calls are to be kept, sampled: by the hot path, as a coroutine and as a block.

Makes fast calls until workers are told what is slow, then some that are; prints how many of these.
"""

import asyncio
import sys
import time

import shmperf
from shmperf.worker.process import worker

FAST_S, SLOW_S = 0.0, 0.05


@shmperf.track
def plain(seconds):
    time.sleep(seconds)


@shmperf.track
async def coroutine(seconds):
    await asyncio.sleep(seconds)


def block(seconds):
    with shmperf.call("block", seconds=seconds):
        time.sleep(seconds)


def one_of_each(seconds):
    plain(seconds)
    asyncio.run(coroutine(seconds))
    block(seconds)


def knows_slow():
    return all(
        worker.session.settings.sampling_of(t).slow_ns for t in ("plain", "coroutine", "block")
    )


deadline = time.monotonic() + float(sys.argv[1])
while not (worker.session and knows_slow()) and time.monotonic() < deadline:
    one_of_each(FAST_S)
for _ in range(5):
    one_of_each(SLOW_S)
print(5)
