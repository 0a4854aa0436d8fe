"""Hangs in a thread, in a coroutine that waits, and in one that does not let others run."""

import asyncio
import sys
import threading

import shmperf

is_warming_up: list[bool] = []
KEY = "sk-ant-api03-" + "a1B2c3D4" * 8


def waits_for_ever(lock: threading.Lock, copied: str, header: str) -> None:
    settings = {"apiKey": "planted-in-a-dict", "n": 17}
    lock.acquire()
    del settings


@shmperf.track
def hangs(item: int, password: str) -> None:
    if is_warming_up:
        return
    lock = threading.Lock()
    lock.acquire()
    waits_for_ever(lock, password, KEY)


@shmperf.track
def calls_it(item: int) -> None:
    hangs(item, password="planted-password")


@shmperf.track
async def waits() -> None:
    await asyncio.sleep(3600)


@shmperf.track
async def blocks() -> None:
    print("open", flush=True)
    sys.stdin.readline()


@shmperf.track
def yields():
    yield 1
    read_a_line = sys.stdin.readline
    yield read_a_line()


async def main() -> None:
    waiting = asyncio.create_task(waits())
    await asyncio.sleep(0)
    await blocks()
    waiting.cancel()


# Calls after the first go another way.
for _ in range(3):
    is_warming_up.append(True)
    calls_it(0)
is_warming_up.clear()
threading.Thread(target=calls_it, args=(17,), daemon=True).start()
if sys.argv[1:]:
    generator = yields()
    next(generator)
    print("open", flush=True)
    next(generator)
else:
    asyncio.run(main())
