import asyncio

import shmperf
from shmperf.interceptors import intercept_tool_call


async def leaf(n):
    await asyncio.sleep(0.01)
    return n


async def outer(n):
    return await intercept_tool_call("leaf", leaf, (n,))


async def main():
    calls = [intercept_tool_call("outer", outer, (n,)) for n in range(10)]
    calls += [intercept_tool_call("outer", lambda n: outer(n), (n,)) for n in range(10, 20)]
    assert shmperf.current() is None
    assert await asyncio.gather(*calls) == list(range(20))


asyncio.run(main())
