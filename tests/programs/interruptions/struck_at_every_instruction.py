"""
Calls of one kind, struck once at every instruction of ours where CPython lets a handler in.

The interpreter looks for signals as it enters a function, behind a call and at a jump backwards;
those places are counted, and round n is struck at the nth of them. Prints how many calls went to
the tools, how many strikes there were, and the statistics.
"""

from __future__ import annotations

import asyncio
import dis
import inspect
import json
import sys
import warnings
from collections.abc import AsyncGenerator, Callable, Generator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import shmperf
from shmperf.worker.context import current_call, parent_of

OURS = str(Path(shmperf.__file__).parent / "worker")
# What is in the middle of a first call, of a collection or of an import is another matter.
NEVER = ("process.py", "lanes.py", "gcwatch.py")


# Frames that something written in C steps through.
STEPPED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Struck(BaseException):
    """What the handler raises."""


@cache
def places(code: CodeType) -> frozenset[int]:
    """The offsets of the instructions behind which, or at which, handlers run."""
    found = set()
    former = ""
    for instruction in dis.get_instructions(code):
        if former.startswith(("CALL", "RESUME", "JUMP_BACKWARD")) and "INTRINSIC" not in former:
            found.add(instruction.offset)
        former = instruction.opname
    return frozenset(found)


class Striker:
    """Raises at the nth place, once."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        self.where = ""
        # Where a frame has called a Python function: the interpreter runs it in the same loop, and
        # does not look for signals as it comes back from there.
        self.pushed: dict[FrameType, int] = {}

    def on_call(self, frame: FrameType, event: str, argument: object) -> Any:
        """Watch the instructions of our functions."""
        code = frame.f_code
        if frame.f_back is not None and not code.co_flags & STEPPED and code.co_name != "__init__":
            self.pushed[frame.f_back] = frame.f_back.f_lasti
        path = Path(code.co_filename)
        if not str(path).startswith(OURS) or path.name in NEVER:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.on_instruction

    def on_instruction(self, frame: FrameType, event: str, argument: object) -> Any:
        """Count the places down."""
        if event != "opcode":
            return self.on_instruction
        former = self.pushed.pop(frame, None)
        if frame.f_lasti in places(frame.f_code) and former is None:
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                code = frame.f_code
                self.where = f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}"
                raise Struck
        return self.on_instruction


@shmperf.track
def plain(*args: object, **kwargs: object) -> None:
    """A call with whatever parameters."""


@shmperf.track
def fails() -> None:
    """A call that raises."""
    raise ValueError("of its own")


@shmperf.track(params=["n"])
def chosen(n: int, text: str) -> None:
    """A call of which one parameter is recorded."""
    plain(n)


@shmperf.track
async def awaited(n: int) -> None:
    """A coroutine with a call in it."""
    plain(n)
    await asyncio.sleep(0)


@shmperf.track
def steps(n: int) -> Generator[int, Any, None]:
    """A generator with a call in each step."""
    for number in range(n):
        plain(number)
        yield number


@shmperf.track
async def async_steps(n: int) -> AsyncGenerator[int, Any]:
    """An asynchronous one."""
    for number in range(n):
        plain(number)
        yield number


def run(awaitable: Any) -> None:
    """Step through *awaitable* without a loop, which would handle exceptions in its own way."""
    stepping = awaitable.__await__() if hasattr(awaitable, "__await__") else awaitable
    while True:
        try:
            stepping.send(None)
        except StopIteration:
            return


async def through(generator: AsyncGenerator[int, Any]) -> None:
    """To its end, or closed in the middle."""
    try:
        async for _ in generator:
            pass
    finally:
        await generator.aclose()


def left_early() -> None:
    """A generator that is closed at its first value."""
    generator = steps(2)
    for _ in generator:
        break
    generator.close()


def block() -> None:
    """A call in a block."""
    with shmperf.call("block", n=1):
        plain(2)


def pair() -> None:
    """A call by hand."""
    shmperf.end_tool_call(shmperf.track_tool_call("pair", {"n": 1}))


KINDS: dict[str, Callable[[], object]] = {
    "plain": lambda: plain(1),
    "named": lambda: plain(1, of="name"),
    "long": lambda: plain("x" * 5000),
    "huge": lambda: plain(["x" * 100] * 2000),
    "fails": fails,
    "chosen": lambda: chosen(1, "text"),
    "coroutine": lambda: run(awaited(1)),
    "generator": lambda: list(steps(2)),
    "left early": left_early,
    "async generator": lambda: run(through(async_steps(2))),
    "block": block,
    "pair": pair,
}


def strike(kind: Callable[[], object], nth: int) -> str:
    """Where the nth place of a call was struck; empty when it has fewer."""
    striker = Striker(nth)
    sys.settrace(striker.on_call)
    try:
        kind()
    except (Struck, ValueError):
        pass
    finally:
        sys.settrace(None)
    return striker.where


def main(name: str) -> None:
    """Strike until there is no further place."""
    kind = KINDS[name]
    # One that is struck before its first step is dropped.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    for _ in range(3):
        strike(kind, 0)
    open_after: list[str] = []
    current_after: list[str] = []
    nth = 0
    while True:
        nth += 1
        where = strike(kind, nth)
        if not where:
            break
        if parent_of(current_call.get()):
            current_after.append(where)
            current_call.set(0)
        # What an interruption left, the next call in its thread finishes.
        plain()
        if shmperf.get_perf_stats()["in_flight"] > len(open_after):
            open_after.append(where)
    stats = shmperf.get_perf_stats()
    print(json.dumps([nth - 1, open_after, current_after, stats]))


if __name__ == "__main__":
    main(sys.argv[1])
