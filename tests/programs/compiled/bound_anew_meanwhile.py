"""
Calls whose tool is given other grants, by other threads and by finalisers, just as they begin.

Prints the statistics; memory that is used behind its end is noticed by a debugging allocator.
"""

import asyncio
import gc
import json
import sys
import threading
from contextlib import ExitStack

import shmperf

CALLS = 10_000


@shmperf.track
def tool(n):
    return n


@shmperf.track
async def coroutine(n):
    return n


@shmperf.track
def counted(n):
    return n


def within(enter):
    """Make calls beneath one that is no plain id, for whose parent Python is asked."""
    leave = enter()
    for n in range(CALLS):
        tool(n)
    leave()


def a_pair():
    begun = shmperf.track_tool_call("pair", {})
    return lambda: shmperf.end_tool_call(begun)


def a_loose_block():
    stack = ExitStack()
    stack.enter_context(shmperf.call("outer"))
    return stack.close


def in_threads():
    threads = [threading.Thread(target=within, args=(enter,)) for enter in (a_pair, a_loose_block)]
    threads += [threading.Thread(target=within, args=(a_pair,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Circle:
    """Ends in the middle of the next allocation that collects."""

    def __init__(self, call):
        self.itself, self.call = self, call

    def __del__(self):
        self.call(0)


def collected(call, other):
    """Make calls at whose beginning a finaliser makes some of its own."""
    for n in range(CALLS // 30):
        gc.disable()
        Circle(other)
        gc.set_threshold(1)
        gc.enable()
        call(n)
        gc.disable()


def run(n):
    asyncio.run(several(n))


async def several(n):
    for _ in range(3):
        await coroutine(n)


def with_finalisers():
    collected(tool, tool)
    collected(counted, counted)
    collected(lambda n: shmperf.end_tool_call(shmperf.track_tool_call("pair")), tool)
    with_block = shmperf.call("block")

    def block(n):
        with with_block:
            pass

    collected(block, block)
    loop = asyncio.new_event_loop()
    collected(lambda n: loop.run_until_complete(several(n)), lambda n: ended(coroutine(n)))
    loop.close()


def ended(awaited):
    try:
        awaited.send(None)
    except StopIteration:
        return


sys.setswitchinterval(1e-6)
for in_detail in (False, True):
    shmperf.set_optimization_mode(in_detail)
    tool(0), run(0), counted(0)
    in_threads()
    with_finalisers()
print(json.dumps(shmperf.get_perf_stats()))
