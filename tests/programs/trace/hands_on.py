"""Each call prints its id and what it hands on."""

import asyncio
import json
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import shmperf

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def tell():
    print(json.dumps([shmperf.current(), shmperf.traceparent()]), flush=True)


@shmperf.track
def leaf():
    tell()


@shmperf.track
def top():
    tell()
    leaf()


@shmperf.track
async def task():
    tell()
    await asyncio.sleep(0)
    await asyncio.to_thread(leaf)


def forks():
    pid = os.fork()
    if not pid:
        leaf()
        shmperf.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def in_a_pool():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(shmperf.propagate(top)).result()


@shmperf.track
def widely():
    tell()
    thread = threading.Thread(target=shmperf.propagate(leaf))
    thread.start()
    thread.join()
    in_a_pool()
    forks()
    asyncio.run(task())
    with shmperf.call("block"):
        leaf()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    top()
    widely()
    with shmperf.adopt(f"00-{TRACE}-00f067aa0ba902b7-01"):
        top()
        widely()
        in_a_pool()
    # Of what has ended: the trace that it began.
    with shmperf.adopt(shmperf.track_tool_call("ended")):
        shmperf.end_tool_call(shmperf.current())
        leaf()
