"""Coroutines of asyncio, of a hand, closed elsewhere, many at once; and what was current."""

import asyncio
import contextvars
import json
import sys

import shmperf


@shmperf.track
async def nothing():
    return shmperf.current()


@shmperf.track
async def inner(n):
    return n


@shmperf.track
async def many(n):
    await inner(n)
    await asyncio.sleep(0)
    await inner(n)


@shmperf.track
async def closed():
    await asyncio.sleep(3600)


@shmperf.track
async def by_hand():
    await asyncio.sleep(0)


stay = []


def is_still(name, wanted):
    if shmperf.current() != wanted:
        stay.append(name)


async def main():
    for _ in range(3):
        await nothing()
    called = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.endswith("opencall.py"):
            called.append(frame.f_code.co_name)

    sys.setprofile(note)
    await nothing()
    sys.setprofile(None)
    with shmperf.call("around") as around:
        is_still("before", around.id)
        assert await nothing() != around.id
        is_still("awaited", around.id)
        await asyncio.gather(*(many(n) for n in range(200)))
        is_still("gathered", around.id)
        left = closed()
        contextvars.copy_context().run(left.send, None)
        is_still("begun elsewhere", around.id)
        left.close()
        is_still("closed here", around.id)
        hand = by_hand()
        other = contextvars.copy_context()
        other.run(hand.send, None)
        is_still("by hand", around.id)
        try:
            hand.send(None)
        except StopIteration:
            is_still("ended here", around.id)
    is_still("after", None)
    return called


long = asyncio.run(main())
outside = by_hand()
outside.send(None)
outside.close()
is_still("without a loop", None)
shmperf.flush()
print(json.dumps([{"long": long, "stay": stay}, shmperf.get_perf_stats()]))
