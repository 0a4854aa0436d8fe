"""Async generators that a loop's end closes, and those that nobody closes, tell nothing."""

import asyncio
import gc

import shmperf

closed = []
closing = asyncio.Event()


@shmperf.track
async def steps(name):
    try:
        for step in range(5):
            yield step
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        closed.append(name)
        closing.set()


@shmperf.track_class
class Tool:
    async def execute(self, name):
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(name)


kept = []


async def main():
    asyncio.get_running_loop().set_exception_handler(lambda _, context: print(context))
    for name in ("kept", "kept too"):
        kept.append(steps(name))
        await kept[-1].__anext__()
    kept.append(Tool().execute("method"))
    await kept[-1].__anext__()
    left = steps("left")
    await left.__anext__()
    del left
    gc.collect()
    never = steps("never")
    del never
    await closing.wait()


asyncio.run(main())
assert sorted(closed) == ["kept", "kept too", "left", "method"], closed
