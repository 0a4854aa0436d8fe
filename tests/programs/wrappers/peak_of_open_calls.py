"""
What a collector does for a few calls before and after a peak of open ones, of the kind asked for.

Prints its processor seconds for as many paced calls before and after, and the statistics.
"""

import asyncio
import json
import subprocess
import sys
import threading

import psutil

import shmperf

OPEN = 50_000
PACED = 150


@shmperf.track
async def waits(event):
    await event.wait()


@shmperf.track
def tool(n):
    return n


@shmperf.track
def steps(n):
    yield n


async def coroutines(collector):
    """Calls that are all open at once, and end in one burst, in which nobody drains them."""
    event = asyncio.Event()
    tasks = [asyncio.create_task(waits(event)) for _ in range(OPEN)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    collector.suspend()
    event.set()
    await asyncio.gather(*tasks)
    collector.resume()


def generators(collector):
    """The same of generators between two steps."""
    opened = [steps(n) for n in range(OPEN)]
    for one in opened:
        next(one)
    collector.suspend()
    for one in opened:
        one.close()
    collector.resume()


def pairs(collector):
    """The same of calls begun and ended by hand."""
    opened = [shmperf.track_tool_call("pair") for _ in range(OPEN)]
    collector.suspend()
    for one in opened:
        shmperf.end_tool_call(one)
    collector.resume()


def paced(collector):
    """The collector's processor seconds for a few calls, each of which it looks for anew."""
    pause = threading.Event()
    before = collector.cpu_times()
    for n in range(PACED):
        tool(n)
        pause.wait(0.01)
    after = collector.cpu_times()
    return after.user + after.system - before.user - before.system


def settled(collector):
    """The same, once what came before is done with."""
    assert shmperf.flush(60)
    paced(collector)
    return paced(collector)


tool(0)
status = [sys.executable, "-m", "shmperf", "status", "--wait", "--json"]
shown = subprocess.run(status, check=True, capture_output=True).stdout
collector = psutil.Process(json.loads(shown)["collector"]["pid"])
before_s = settled(collector)
PEAKS = {
    "coroutines": lambda: asyncio.run(coroutines(collector)),
    "generators": lambda: generators(collector),
    "pairs": lambda: pairs(collector),
}
PEAKS[sys.argv[1]]()
after_s = settled(collector)
print(json.dumps([before_s, after_s, shmperf.get_perf_stats()]))
