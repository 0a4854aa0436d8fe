"""Under a trace from elsewhere: roots without a record, and a fork that no call stands above."""

import asyncio
import os

import shmperf


@shmperf.track
def seldom(n):
    return leaf(n)


@shmperf.track("seldom")
async def seldom_awaited(n):
    await asyncio.sleep(0)
    return leaf(n)


@shmperf.track
def leaf(n):
    return n


def fork(n):
    pid = os.fork()
    if not pid:
        leaf(n)
        shmperf.flush()
        os._exit(0)
    os.waitpid(pid, 0)


with shmperf.adopt("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
    for number in range(20):
        seldom(number)
    for number in range(20, 40):
        asyncio.run(seldom_awaited(number))
    with shmperf.call("seldom"):
        leaf(40)
    fork(41)
    leaf(42)
for number in range(50, 60):
    seldom(number)
fork(60)
