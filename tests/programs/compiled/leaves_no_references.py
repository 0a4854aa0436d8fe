"""Many calls of every kind; prints how many more blocks of memory are in use behind each."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import shmperf

WARM = 3_000
COUNT = int(sys.argv[1])


@shmperf.track
def plain(*args: Any, **kwargs: Any) -> None:
    pass


@shmperf.track
def fails(error: Exception) -> None:
    raise error


@shmperf.track("counted")
def counted() -> None:
    pass


@shmperf.track
async def awaited(*args: Any) -> None:
    await asyncio.sleep(0)


@shmperf.track
def steps(count: int) -> Iterator[int]:
    yield from range(count)


@shmperf.track(params=["one"])
def chosen(one: int, two: str) -> None:
    pass


class Tool:
    @shmperf.track
    def method(self, one: int) -> None:
        pass


def block() -> None:
    with shmperf.call("block", one=1, two="2"):
        plain()


def pair() -> None:
    shmperf.end_tool_call(shmperf.track_tool_call("pair", {"one": 1}))


def failing() -> None:
    with contextlib.suppress(ValueError):
        fails(ValueError("one"))


def in_a_loop(count: int) -> None:
    async def repeat() -> None:
        for _ in range(count):
            await awaited(1, "two")

    asyncio.run(repeat())


def repeated(call: Callable[[], object]) -> Callable[[int], None]:
    def repeat(count: int) -> None:
        for _ in range(count):
            call()

    return repeat


tool = Tool()
KINDS: dict[str, Callable[[int], None]] = {
    "plain": repeated(plain),
    "values": repeated(lambda: plain(1, 2.5, None, "text", [1, "2"], {"k": (1,)}, three=3)),
    "long": repeated(lambda: plain("ä" * 500, "b" * 5_000)),
    "beyond": repeated(lambda: plain(2**70, object())),
    "method": repeated(lambda: tool.method(1)),
    "nested": repeated(lambda: plain(plain())),
    "fails": repeated(failing),
    "block": repeated(block),
    "pair": repeated(pair),
    "coroutine": in_a_loop,
    "generator": repeated(lambda: list(steps(3))),
    "left early": repeated(lambda: next(steps(3))),
    "chosen": repeated(lambda: chosen(1, two="2")),
    "counted": repeated(counted),
}


def main() -> None:
    found = {}
    for in_detail in (False, True):
        shmperf.set_optimization_mode(in_detail)
        for name, repeat in KINDS.items():
            repeat(WARM)
            gc.collect()
            before = sys.getallocatedblocks()
            repeat(COUNT)
            gc.collect()
            found[f"{name}, detail" if in_detail else name] = sys.getallocatedblocks() - before
    print(json.dumps([found, shmperf.get_perf_stats()]))


if __name__ == "__main__":
    main()
