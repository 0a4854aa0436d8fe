import asyncio

from shmperf.interceptors import intercept_tool_call


async def tool():
    await asyncio.sleep(60)


async def main():
    task = asyncio.ensure_future(intercept_tool_call("tool", tool))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


asyncio.run(main())
