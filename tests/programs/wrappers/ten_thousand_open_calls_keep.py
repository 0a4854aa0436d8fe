import asyncio

import shmperf


@shmperf.track
async def waits(event):
    await event.wait()
    return shmperf.current()


async def main():
    event = asyncio.Event()
    tasks = [asyncio.create_task(waits(event)) for _ in range(10_000)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stats = shmperf.get_perf_stats()
    assert stats["in_flight"] == 10_000, stats["in_flight"]
    event.set()
    ids = await asyncio.gather(*tasks)
    assert len(set(ids)) == 10_000 and None not in ids


asyncio.run(main())
