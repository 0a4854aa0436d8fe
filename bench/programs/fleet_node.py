"""
A node of a fleet: workers that call tools at a steady rate until standard input ends.

Arguments: calls a second, workers. It prints ``ready`` once all of them call, and in the end what
this session's books say, as JSON; with no calls a second it only waits, and sends what waits.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading
import time
from typing import Any

import shmperf

_TOOLS = 5


def _search(item: int) -> int:
    return _fetch(item) if item % 3 == 0 else item


@shmperf.track("fetch")
def _fetch(item: int) -> int:
    if item % 30 == 0:
        raise ValueError(f"item {item} is missing")
    return item


def _work(number: int, rate: float, ended: Any, started: Any) -> None:
    tools = [shmperf.track(f"search_{n}")(_search) for n in range(_TOOLS)]
    started.release()
    made, begun_s = 0, time.monotonic()
    while not ended.wait(0.02):
        due = int((time.monotonic() - begun_s) * rate)
        while made < due:
            try:
                tools[made % _TOOLS](number + made)
            except ValueError:
                pass
            made += 1


def main(rate: float, workers: int) -> None:
    """Call until standard input ends."""
    context = multiprocessing.get_context("spawn")
    ended, started = context.Event(), context.Semaphore(0)
    with shmperf.call("coordinate"):
        pass
    processes = [
        context.Process(target=_work, args=(number, rate / workers, ended, started))
        for number in range(workers if rate else 0)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        started.acquire()
    print("ready", flush=True)
    threading.Thread(target=_wait, args=(ended,), daemon=True).start()
    ended.wait()
    for process in processes:
        process.join()
    stats = shmperf.get_perf_stats()
    print(json.dumps({key: stats[key] for key in ("begun", "total_calls", "lost", "aborted")}))


def _wait(ended: Any) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
