"""Calls in every way that a plain function is called in; prints what was recorded of them."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import re
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import shmperf


class Given(Exception):
    """An error of the program's own."""


@shmperf.track
def plain(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return args, kwargs


@shmperf.track
def nested(depth: int) -> int:
    return depth and nested(depth - 1)


@shmperf.track
def bottomless() -> None:
    bottomless()


@shmperf.track
def in_turn(depth: int) -> int:
    return depth and turned(depth - 1)


@shmperf.track
def turned(depth: int) -> int:
    return depth and in_turn(depth - 1)


@shmperf.track
def fails(error: BaseException) -> None:
    raise error


@shmperf.track
def around(function: Any) -> Any:
    return function()


@shmperf.track
def changes_context() -> None:
    shmperf.adopt("00f00000000000c0")


class Tool:
    @shmperf.track
    def method(self, one: int, two: str = "2") -> int:
        return one

    @classmethod
    @shmperf.track
    def of_class(cls, one: int) -> int:
        return one

    @staticmethod
    @shmperf.track
    def static(one: int) -> int:
        return one


def outcome(function: Any) -> Any:
    try:
        return ["returned", repr(function())]
    except BaseException as error:  # noqa: BLE001  whatever it is
        return ["raised", repr(error), repr(error.__context__), repr(error.__cause__)]


def in_thread(function: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(outcome(function)))
    thread.start()
    thread.join()
    return found[0]


def in_fork(function: Any) -> Any:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, json.dumps(outcome(function)).encode())
        shmperf.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        told = json.loads(answer.read())
    os.waitpid(pid, 0)
    return told


def in_loop(function: Any) -> Any:
    async def called() -> Any:
        return await asyncio.to_thread(function), function()

    return outcome(lambda: asyncio.run(called()))


def in_handler(function: Any) -> Any:
    found: list[Any] = []
    signal.signal(signal.SIGUSR1, lambda *_: found.append(outcome(function)))
    signal.raise_signal(signal.SIGUSR1)
    return found


def catches() -> str:
    try:
        fails(Given("caught"))
    except Given as error:
        return repr(error)
    return ""


text = "All happy families are alike. " * 30
tool = Tool()
WAYS = [
    plain,
    partial(plain, 1, -1, 2**63, 2**64, -(2**63), 0.5, None, True, "text"),
    partial(plain, 2**64),
    partial(plain, "ä" * 50, "🐍" * 170),
    partial(plain, text),
    partial(plain, 1, text, name=text),
    partial(plain, [1, "two", None], (3,), {"k": 1.5}),
    partial(plain, {"password": "hidden"}, token="hidden"),
    partial(plain, [[1], {"deep": [2]}]),
    partial(plain, object, {1, 2}, b"bytes", 1j),
    partial(plain, "\ud800"),
    partial(plain, *range(40)),
    partial(plain, **{f"name{n}": n for n in range(20)}),
    partial(plain, 1, two=2, three={"three": 3}),
    partial(tool.method, 1),
    partial(tool.method, 1, two="3"),
    partial(Tool.method, tool, 4),
    partial(Tool.of_class, 5),
    partial(tool.static, 6),
    partial(fails, Given("with", "arguments")),
    partial(fails, TimeoutError("late")),
    partial(fails, asyncio.CancelledError()),
    partial(fails, KeyboardInterrupt()),
    partial(fails, SystemExit(0)),
    partial(fails, SystemExit(3)),
    partial(fails, RecursionError("own")),
    partial(fails, MemoryError("own")),
    partial(around, plain),
    partial(around, partial(around, partial(fails, Given("twice")))),
    partial(around, catches),
    partial(around, changes_context),
    plain,
    partial(nested, 150),
    partial(in_turn, 250),
    partial(contextvars.copy_context().run, plain),
]


def main() -> None:
    found = [outcome(way) for way in WAYS]
    found += [in_thread(partial(around, plain)), in_handler(partial(around, plain))]
    found += [around(partial(in_handler, plain)), around(partial(in_thread, plain))]
    found.append(in_loop(partial(around, plain)))
    found += [in_fork(partial(around, plain)), around(partial(in_fork, plain))]
    try:
        bottomless()
    except RecursionError:
        found.append("too deep")
    for _ in range(300):
        plain(_)
    found.append(plain.__name__ + str(callable(plain)) + repr(type(plain)))
    stats = shmperf.get_perf_stats()
    # Objects stand somewhere else in each process.
    print(re.sub("0x[0-9a-f]+", "0x…", json.dumps([[found, recorded()], stats])))


def recorded() -> list[Any]:
    """The calls as they follow each other: tool, parent's tool, parameters, outcome."""
    shmperf.flush()
    lines = [
        json.loads(line)["data"]
        for path in Path("perf_data").glob("*_perf.jsonl")
        for line in path.read_text().splitlines()
    ]
    # How deep that is depends on how many frames a call takes.
    lines = [line for line in lines if line["t"] != "bottomless"]
    lines.sort(key=lambda line: line["s"])
    tools = {line["id"]: line["t"] for line in lines}
    keys = ("t", "p", "truncated", "status", "err")
    return [
        [*(line.get(key) for key in keys), tools.get(line.get("parent"), line.get("parent"))]
        for line in lines
    ]


if __name__ == "__main__":
    main()
