import asyncio
import subprocess
import sys

import cloudpickle

import shmperf
from shmperf import track


@track
def leaf(x):
    return x


@track("renamed")
def work(x, y=2):
    return leaf(x) + y


@track
def steps(n):
    yield from range(n)


@track
async def waits(n):
    return n


@track
async def pours(n):
    for step in range(n):
        yield step


@track(params=["x"])
def chosen(x, secret):
    return x


@shmperf.track_class
class Base:
    def execute(self, x):
        return x


class Mine(Base):
    def execute(self, x):
        return work(x)


async def gather(n):
    return [x async for x in pours(n)] + [await waits(n)]


def every():
    with shmperf.call("block"):
        return [*steps(2), *asyncio.run(gather(2)), chosen(3, 5), Mine().execute(4)]


def fail(_):
    raise LookupError


found = every()
tracked_fail = track(fail)
data = cloudpickle.dumps((every, tracked_fail, found))
subprocess.run([sys.executable, sys.argv[1]], input=data, check=True)
