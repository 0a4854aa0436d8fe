import asyncio
import multiprocessing

import shmperf


@shmperf.track
async def step(n):
    await asyncio.sleep(0.001)


@shmperf.track
async def gather():
    await asyncio.gather(*(step(n) for n in range(5)))


@shmperf.track
def remote(n):
    return n


@shmperf.track
def hand_over():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(remote, range(3))


if __name__ == "__main__":
    shmperf.instrument("multiprocessing")
    asyncio.run(gather())
    hand_over()
