import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

from shmperf import adopt, call, current, end_tool_call, propagate, track, track_tool_call


@track
def leaf():
    return current()


@track
def middle():
    return leaf()


@track
def steps():
    yield current()
    yield current()


with call("root") as root:
    assert current() == root.id
    middle()
    inside = []
    thread = threading.Thread(target=lambda: inside.append(current()))
    thread.start()
    thread.join()
    assert inside == [None]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(current).result() is None
        assert pool.submit(propagate(current)).result() == root.id
    generator = steps()
    first = next(generator)
    assert first != root.id and current() == root.id
    assert next(generator) == first and current() == root.id
    del generator
    gc.collect()
    assert current() == root.id
    pair = track_tool_call("pair", {})
    assert current() == pair
    ender = threading.Thread(target=end_tool_call, args=(pair,))
    ender.start()
    ender.join()
    assert current() == root.id
    outer, inner = track_tool_call("outer", {}), track_tool_call("inner", {})
    end_tool_call(outer)
    assert current() == inner
    end_tool_call(inner)
    assert current() == root.id


async def task(seen):
    with call("task") as mine:
        await asyncio.sleep(0)
        assert current() == mine.id
        seen.append(mine.id)
        assert await asyncio.to_thread(current) == mine.id


async def main():
    seen = []
    async with call("gather") as gathered:
        await asyncio.gather(*(task(seen) for _ in range(50)))
        assert current() == gathered.id and len(set(seen)) == 50
        late = asyncio.create_task(task(seen))
    assert current() is None
    await late


asyncio.run(main())
assert current() is None
with adopt("00000000000000aa"):
    leaf()
