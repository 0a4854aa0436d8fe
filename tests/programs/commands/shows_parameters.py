"""Calls that stay open until there is input, with parameters of which some are secrets."""

import asyncio
import os
import sys
import threading
import time

import shmperf

KEY = "sk-ant-api03-" + "a1B2c3D4" * 8


@shmperf.track
def slow(n: int, wait: threading.Event | None = None) -> None:
    """At least a millisecond, or until told."""
    if wait is None:
        time.sleep(0.0015)
    else:
        wait.wait()


@shmperf.track
def fast(n: int, wait: threading.Event | None = None) -> None:
    if wait is not None:
        wait.wait()


@shmperf.track
def nested(item: dict, text: str, **more: object) -> None:
    more["wait"].wait()


@shmperf.track(name="forked")
def forks(item: str) -> None:
    """Its child shows its own calls, and nothing of this one."""
    pid = os.fork()
    if not pid:
        slow(1)
        os._exit(0)
    os.waitpid(pid, 0)


@shmperf.track
async def awaits(n: int, until: asyncio.Event) -> None:
    await until.wait()


async def many(count: int) -> None:
    until = asyncio.Event()
    tasks = [asyncio.create_task(awaits(n, until)) for n in range(count)]
    await asyncio.sleep(0)
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    until.set()
    await asyncio.gather(*tasks)
    one = asyncio.create_task(awaits(count, asyncio.Event()))
    await asyncio.sleep(0)
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    one.cancel()


def few() -> None:
    wait = threading.Event()
    for n in range(40):
        slow(n)
        fast(n)
    forks("parent's")
    calls = [
        (slow, (17,), {"wait": wait}),
        (fast, (17,), {"wait": wait}),
        (nested, ({"deep": {"apiKey": "x"}}, f"curl -H {KEY}"), {"password": "y", "wait": wait}),
    ]
    threads = [
        threading.Thread(target=tool, args=args, kwargs=named) for tool, args, named in calls
    ]
    for thread in threads:
        thread.start()
    pair = shmperf.track_tool_call("pair", {"q": "x" * 10_000, "n": 1})
    with shmperf.call("block", q=2, token="z"):
        print("open", flush=True)
        sys.stdin.readline()
    shmperf.end_tool_call(pair)
    wait.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(many(int(sys.argv[1])))
    else:
        few()
