"""
Calls tools at a steady rate, and makes them bad while it is told so, by lines on standard input.

Arguments: what its tools are called, with a number behind it each; trouble, and how much of it;
tools, calls a second of each, and what a call takes in milliseconds, typically. ``begin`` plants
the trouble in all of its tools, ``over`` takes it out; the end of input ends the program.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from contextlib import suppress

import shmperf

_SPREAD = 0.3
_MIB = 1 << 20
_LOOK_S = 0.05

planted, ended = threading.Event(), threading.Event()
kept: list[bytearray] = []


class Tool:
    """One tool: what it does while all is well, and what in trouble."""

    def __init__(self, name: str, trouble: str, amount: float, usual_s: float) -> None:
        self.trouble, self.amount, self.usual_s = trouble, amount, usual_s
        self._rng = random.Random(name)  # noqa: S311  durations, no secrets
        self.call = shmperf.track(name)(self._work)

    @property
    def is_silent(self) -> bool:
        """Nobody calls it now."""
        return self.trouble == "silent" and planted.is_set()

    def _work(self) -> None:
        is_bad = planted.is_set()
        times = self.amount if is_bad and self.trouble == "slower" else 1.0
        time.sleep(times * self.usual_s * self._rng.lognormvariate(0.0, _SPREAD))
        if is_bad and self.trouble == "errors" and self._rng.random() < self.amount:
            raise RuntimeError("one of some")
        while is_bad and self.trouble == "stuck" and planted.is_set() and not ended.is_set():
            time.sleep(_LOOK_S)


def call(tool: Tool, pause_s: float, offset_s: float) -> None:
    """Call *tool* until the end, at its rate; what a slow call has missed is not made up for."""
    due_s = time.monotonic() + offset_s
    while not ended.wait(max(0.0, due_s - time.monotonic())):
        if not tool.is_silent:
            with suppress(RuntimeError):
                tool.call()
        due_s = max(due_s + pause_s, time.monotonic())


def grow(mib_a_second: float) -> None:
    """Keep so much more memory each second, while it is wanted."""
    while not ended.wait(1.0):
        if planted.is_set():
            kept.append(bytearray(b"x" * round(mib_a_second * _MIB)))


def main() -> None:
    """Call, and do as the lines say."""
    name, trouble = sys.argv[1:3]
    amount, count, rate, usual_ms = map(float, sys.argv[3:7])
    tools = [
        Tool(f"{name}-{number}", trouble, amount, usual_ms / 1e3) for number in range(int(count))
    ]
    threads = [
        threading.Thread(target=call, args=(tool, 1 / rate, place / rate / count))
        for place, tool in enumerate(tools)
    ]
    if trouble == "grows":
        threads.append(threading.Thread(target=grow, args=(amount,)))
    for thread in threads:
        thread.start()
    for line in sys.stdin:
        if line.strip() == "begin":
            planted.set()
        else:
            planted.clear()
    ended.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
