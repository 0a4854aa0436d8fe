import asyncio

import shmperf
from shmperf.interceptors import intercept_tool_call

shmperf.set_optimization_mode(True)


async def tool():
    pass


intercept_tool_call("sync", sum, (range(1000),))
asyncio.run(intercept_tool_call("async", tool))
asyncio.run(intercept_tool_call("lambda", lambda: tool()))
