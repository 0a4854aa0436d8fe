"""Calls of every kind, some of which fail; prints how many were made of each tool, and failed."""

import asyncio
import json
from collections import Counter

import shmperf
from shmperf.interceptors import intercept_tool_call

made: Counter[str] = Counter()
failed: Counter[str] = Counter()


def note(tool: str, n: int) -> None:
    made[tool] += 1
    if n % 50 == 0:
        failed[tool] += 1
        raise ValueError(n)


@shmperf.track
def leaf(n):
    note("leaf", n)


@shmperf.track
def plain(n):
    attempt(leaf, n + 1)
    note("plain", n)


@shmperf.track(params=["n"])
def chosen(n, other=None):
    note("chosen", n)


@shmperf.track
async def coroutine(n):
    await asyncio.sleep(0)
    attempt(leaf, n)
    note("coroutine", n)


@shmperf.track
def generator(n):
    for step in range(3):
        attempt(leaf, n)
        yield step
    note("generator", n)


@shmperf.track
def left_early(n):
    made["left_early"] += 1
    yield n


def intercepted(n):
    note("intercepted", n)


def attempt(function, *args):
    try:
        return function(*args)
    except ValueError:
        return None


def block(n):
    with shmperf.call("block", n=n):
        attempt(leaf, n)
        note("block", n)


def pair(n):
    opened = shmperf.track_tool_call("pair", {"n": n})
    attempt(leaf, n)
    made["pair"] += 1
    failed["pair"] += n % 50 == 0
    shmperf.end_tool_call(opened, error="ValueError: n" if n % 50 == 0 else None)


def one_of_each(n):
    attempt(plain, n)
    attempt(chosen, n)
    attempt(lambda: list(generator(n)))
    for _ in left_early(n):
        break
    attempt(block, n)
    pair(n)
    attempt(intercept_tool_call, "intercepted", intercepted, (n,))


async def coroutines(first):
    await asyncio.gather(*map(coroutine, range(first, first + 40)), return_exceptions=True)


for n in range(400):
    one_of_each(n)
for first in range(0, 400, 40):
    asyncio.run(coroutines(first))
print(json.dumps([made, failed]))
