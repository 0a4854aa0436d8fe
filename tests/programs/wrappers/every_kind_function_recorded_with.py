import asyncio

import pytest

import shmperf
from shmperf import call, track


class Thing:
    @track
    def method(self, a, *rest, b=2, **more):
        return (a, rest, b, more)

    @track
    @classmethod
    def made(cls, a):
        return (cls.__name__, a)

    @staticmethod
    @track("static")
    def fixed(a):
        return a


thing = Thing()
assert thing.method(1, 5, b=3, c=4) == (1, (5,), 3, {"c": 4})
assert Thing.made(1) == thing.made(1) == ("Thing", 1)
assert Thing.fixed(2) == thing.fixed(2) == 2
with pytest.raises(TypeError, match="missing 1 required"):
    thing.method()


@track
def fails(kind):
    raise kind("boom")


for kind in (ValueError, TimeoutError, KeyboardInterrupt):
    with pytest.raises(kind, match="boom"):
        fails(kind)


@track
def numbers(n):
    got = 0
    for i in range(n):
        got += (yield i) or 0
    return got


def outer():
    result = yield from numbers(3)
    return result


steps = outer()
assert [next(steps), steps.send(5), steps.send(6)] == [0, 1, 2]
with pytest.raises(StopIteration) as stop:
    steps.send(7)
assert stop.value.value == 18
closed = numbers(9)
next(closed)
closed.close()
thrown = numbers(9)
next(thrown)
with pytest.raises(KeyError):
    thrown.throw(KeyError())
never = numbers(1)
del never


@track
async def waits(n):
    await asyncio.sleep(0)
    if n < 0:
        raise ValueError
    return n


@track
async def ticks(n):
    for i in range(n):
        yield i


async def main():
    assert await waits(3) == 3
    with pytest.raises(ValueError):
        await waits(-1)
    assert [i async for i in ticks(4)] == [0, 1, 2, 3]
    early = ticks(4)
    async for i in early:
        break
    await early.aclose()
    task = asyncio.create_task(waits(1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    sleeper = asyncio.create_task(track(name="sleeper")(asyncio.sleep)(100))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    sleeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeper
    async with call("block", key=1):
        await asyncio.sleep(0)


asyncio.run(main())
with pytest.raises(OSError):
    with call("block") as block:
        assert block.id == shmperf.current()
        raise OSError
assert shmperf.current() is None
