"""``plan`` waits for two tools in turn, ``gathered`` for both at once."""

import asyncio

import rig

import shmperf


@shmperf.track
async def weather(city):
    with rig.timed("weather"):
        await asyncio.sleep(0.006)


@shmperf.track
async def news(city):
    with rig.timed("news"):
        await asyncio.sleep(0.003)


@shmperf.track
async def plan(city):
    await weather(city)
    await news(city)


@shmperf.track
async def gathered(city):
    await asyncio.gather(weather(city), news(city))


async def plans():
    for number in range(20):
        await plan(f"city {number}")


async def others():
    for number in range(20):
        await gathered(f"city {number}")


def work():
    asyncio.run(plans())
    saved.append(sum(map(min, zip(rig.LEDGER["weather"], rig.LEDGER["news"], strict=True))))
    asyncio.run(others())


saved = []
rig.tell(work, lambda: saved[0])
