"""
What becomes of a call's cost when many processes make calls: 1 to 64 workers on the same cores.

CPU time above the same work untracked, which does not grow with waiting for a core. Peers do the
same work; what they cost when somebody wants the figures (a scrape) is measured behind it.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from multiprocessing import get_context
from typing import Any

import psutil

import shmperf

from .measure import Row, collector_pid, private_place, row_of, run_python
from .peers import made, tool

__all__ = ["scale"]

_WORKERS = (1, 2, 4, 8, 16, 32, 64)
_QUICK = (1, 4, 16)
_CALLS = 200_000
_RATE = 200_000
_WORK_LOOPS = 150


def scale(*, quick: bool) -> list[Row]:
    """The rows."""
    rows: list[Row] = []
    costs: dict[int, float] = {}
    for workers in _QUICK if quick else _WORKERS:
        found = _run(f"flat_out({workers}, {1 if quick else 3})")
        costs[workers] = statistics.median(found["cost_us"])
        rows.append(row_of(f"{_many(workers)}: CPU time a call", found["cost_us"], "µs"))
        rows.append(row_of(f"{_many(workers)}: calls", found["rate"], "calls/s"))
        lost = found["lost"] / found["calls"] * 100
        rows.append(Row(name=f"{_many(workers)}: lost, flat out", value=lost, unit="%"))
        name = f"{_many(workers)}: shared memory of one"
        rows.append(Row(name=name, value=found["shared_mib"], unit="MiB"))
        name = f"{_many(workers)}: collector's CPU time a call"
        rows.append(Row(name=name, value=found["collector_us"], unit="µs"))
    least, most = min(costs), max(costs)
    growth = (costs[most] / costs[least] - 1) * 100
    name = f"CPU time a call, {least} → {most} workers"
    rows.insert(0, Row(name=name, value=growth, unit="% more", target=10))
    found = _run(f"at_rate(64, {1 if quick else 5})")
    name = f"64 workers at {_RATE:,} calls/s in sum: lost"
    rows.insert(1, Row(name=name, value=found["lost"], unit="calls", target=0))
    for workers in (1, 16) if quick else (1, 16, 64):
        found = _run(f"scraped({workers})")
        for peer, figures in found.items():
            name = f"{_many(workers)}: {peer}"
            rows.append(Row(name=name, value=figures, unit="ms"))
    return rows


def _run(call: str) -> Any:
    with private_place() as (cwd, environ):
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(cwd / "metrics")
        (cwd / "metrics").mkdir()
        code = f"import json, bench.scale as s; print(json.dumps(s.{call}))"
        return json.loads(run_python(code, cwd, environ).splitlines()[-1])


def _work() -> int:
    """A few microseconds of something."""
    total = 0
    for number in range(_WORK_LOOPS):
        total += number
    return total


_tracked = shmperf.track(name="tool")(_work)


def flat_out(workers: int, rounds: int) -> dict[str, Any]:
    """All workers as fast as they can; the same work untracked in turn with it."""
    _tracked()
    pid = collector_pid()
    before_s = _cpu_s(pid)
    spent: dict[str, list[float]] = {"off": [], "on": []}
    rate: list[float] = []
    calls = _CALLS // workers
    for _ in range(rounds):
        for mode, function in (("off", _work), ("on", _tracked)):
            start = time.perf_counter()
            found = _together(workers, _measured, (function, calls))
            spent[mode].append(statistics.mean(found) / calls / 1000)
            if mode == "on":
                rate.append(workers * calls / (time.perf_counter() - start))
    stats = shmperf.get_perf_stats()
    cost = [on - off for on, off in zip(spent["on"], spent["off"], strict=True)]
    return {
        "cost_us": cost,
        "rate": rate,
        "calls": stats["begun"],
        "lost": sum(stats["lost"].values()),
        "shared_mib": max(_together(workers, _shared, ())),
        "collector_us": (_cpu_s(pid) - before_s) * 1e6 / stats["begun"],
    }


def at_rate(workers: int, seconds: float) -> dict[str, Any]:
    """All workers at a given rate in sum; what was lost."""
    _tracked()
    shmperf.get_perf_stats()
    calls = int(_RATE * seconds / workers)
    _together(workers, _paced, (calls, seconds))
    stats = shmperf.get_perf_stats()
    return {"lost": sum(stats["lost"].values()), "calls": stats["begun"]}


def scraped(workers: int) -> dict[str, float]:
    """What it takes to get the figures of so many processes once, in milliseconds."""
    found = {}
    _tracked()
    _together(workers, _measured, (_tracked, 1_000))
    start = time.perf_counter()
    shmperf.get_perf_stats()
    found["shmperf, statistics"] = (time.perf_counter() - start) * 1000
    peers = made()
    if "prometheus" in peers:
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

        _together(workers, _repeated, (peers["prometheus"], 1_000))
        start = time.perf_counter()
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        generate_latest(registry)
        found["prometheus, scrape"] = (time.perf_counter() - start) * 1000
    return found


def _together(workers: int, function: Any, arguments: tuple[Any, ...]) -> list[Any]:
    """What *function* returned in each of so many forks that began at the same moment."""
    context = get_context("fork")
    barrier, results = context.Barrier(workers), context.SimpleQueue()
    processes = [
        context.Process(target=_started, args=(barrier, results, function, arguments))
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def _started(barrier: Any, results: Any, function: Any, arguments: tuple[Any, ...]) -> None:
    _tracked()
    barrier.wait()
    results.put(function(*arguments))


def _measured(function: Any, calls: int) -> int:
    start = time.thread_time_ns()
    for _ in range(calls):
        function()
    return time.thread_time_ns() - start


def _repeated(subject: Any, calls: int) -> None:
    subject(calls)


def _paced(calls: int, seconds: float) -> int:
    """Calls in bunches of 20, spread over the time."""
    start = time.perf_counter()
    for number in range(calls):
        if number % 20 == 0:
            ahead = start + seconds * number / calls - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)
        tracked_nothing()
    return calls


tracked_nothing = shmperf.track(name="nothing")(tool)


def _shared() -> float:
    """MiB of shared memory that this worker really uses."""
    for _ in range(2_000):
        _tracked()
    from shmperf.worker import worker  # noqa: PLC0415  this process's, after the fork

    assert worker.segment is not None
    return os.stat(f"/dev/shm/{worker.segment.name}").st_blocks * 512 / (1 << 20)  # noqa: PTH116, S108


def _cpu_s(pid: Any) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _many(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
