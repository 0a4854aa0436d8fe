"""Calls in every way that a plain function is called in; prints what was recorded of them."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import re
import signal
import sys
import threading
from collections import UserDict
from functools import partial
from pathlib import Path
from typing import Any

import shmperf
from shmperf.worker.context import current_call


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


def begun(*given: Any) -> str:
    """A call by hand; how long its id is."""
    before = current_call.get()
    key = shmperf.track_tool_call(*given)
    plain("inside")
    shmperf.end_tool_call(key)
    plain("behind")
    return f"{len(key)} {current_call.get() == before}"


def ended(**how: Any) -> None:
    key = shmperf.track_tool_call("pair", {"how": 1})
    shmperf.end_tool_call(key, **how)
    # Once is enough.
    shmperf.end_tool_call(key)


def crossing() -> None:
    """Two by hand, the outer one of which ends first."""
    first = shmperf.track_tool_call("first", {})
    second = shmperf.track_tool_call("second", {})
    shmperf.end_tool_call(first)
    plain("below second")
    shmperf.end_tool_call(second)
    plain("below nothing")


def ended_elsewhere() -> Any:
    key = shmperf.track_tool_call("elsewhere", {"one": 1})
    told = in_thread(partial(shmperf.end_tool_call, key))
    plain("after it")
    return told


def ended_in_fork() -> Any:
    """It stays the parent's."""
    key = shmperf.track_tool_call("forked", {"one": 1})
    told = in_fork(partial(shmperf.end_tool_call, key))
    shmperf.end_tool_call(key)
    return told


def unknown() -> None:
    for key in ("", "00000000000000c0", 7, None, "x" * 16):
        shmperf.end_tool_call(key)


def in_block(*names: Any, **params: Any) -> Any:
    with shmperf.call(*names, **params) as block:
        plain("inside")
        return block.id is not None


def in_blocks() -> None:
    """One object for several blocks, inside each other too."""
    block = shmperf.call("again", one=1)
    for _ in range(2):
        with block, block:
            plain("inside both")
        plain("outside")


def made_anew() -> None:
    block = shmperf.call("before", one=1)
    with block:
        pass
    block.__init__("after", two=2)
    with block:
        plain("inside")


def failing_block() -> None:
    with shmperf.call("failing", one=1):
        raise Given("inside")


def with_its_own(params: dict[str, Any]) -> Any:
    """What is given to a block stays as it is."""
    with shmperf.call("own", **params):
        params["later"] = 1
    return params


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
    partial(begun, "pair"),
    partial(begun, "pair", {}),
    partial(begun, "pair", {"one": 1, "two": text}),
    partial(begun, "pair", UserDict(one=1)),
    partial(begun, "pair", ["no mapping"]),
    partial(begun, "pair", {1: "no name"}),
    partial(begun, 7, {"one": 1}),
    partial(begun, "unlimited", {"password": "hidden"}),
    partial(around, partial(begun, "pair", {"one": 1})),
    partial(begun, "none", {"one": 1}),
    ended,
    partial(ended, error=Given("told")),
    partial(ended, error="told"),
    partial(ended, metadata={"one": 1}),
    partial(around, crossing),
    crossing,
    ended_elsewhere,
    ended_in_fork,
    unknown,
    partial(around, partial(in_block, "block", one=1)),
    partial(in_block, "block"),
    partial(in_block, "block", name="its own", text=text),
    partial(in_block, 7),
    in_block,
    partial(in_block, "one", "two"),
    partial(in_block, "none", one=1),
    in_blocks,
    made_anew,
    failing_block,
    partial(with_its_own, {"one": 1}),
    partial(contextvars.copy_context().run, crossing),
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
        for path in Path(sys.argv[1]).glob("*_perf.jsonl")
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
