import asyncio

from langchain_core.runnables import RunnableLambda, RunnableParallel

import shmperf

add = RunnableLambda(shmperf.track(lambda x: x + 1, name="add"))
with shmperf.call("outer"):
    assert add.batch([1, 2, 3]) == [2, 3, 4]
    assert RunnableParallel(a=add, b=add).invoke(1) == {"a": 2, "b": 2}


async def main():
    assert await add.ainvoke(1) == 2


asyncio.run(main())
