"""
What becomes of a call's cost when many processes make calls: 1 to 64 workers on the same cores.

Every worker does blocks of the same work recorded and unrecorded in turn, all workers at once, and
reads its thread's CPU time, which does not grow with waiting for a core. Its rings have grown and
its pages been touched before. What the process's other threads used (a peer's exporter) counts as
cost of the calls. Then all go flat out, and the rate is taken; then all wait while somebody asks
for the figures. Peers do the same in turn with us, by round and number of workers.

How the work itself grows says what the machine does to any code when all cores are busy; "as work"
counts our cost in units of the work that was done between our calls. Where the work itself grows or
shrinks by much, the machine was busy with others, and the run says little.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

import shmperf
from shmperf.worker.process import tool_named, worker

from .measure import Row, collector_pid, cpu_s, private_place, ratio, row_of, run_python
from .peers import Peer, installed, made, tool

__all__ = ["scale"]

_WORKERS = (1, 2, 4, 8, 16, 32, 64)
_QUICK = (1, 4, 16)
_PEERS = {"opentelemetry": "OpenTelemetry", "prometheus": "prometheus multiprocess"}
_NAMES = {"shmperf": "shmperf", **_PEERS}
_WARM = 2_000
_BLOCK = 100
# Of each worker, and at least so many of all: few workers must not mean few figures.
_BLOCKS = 20
_LEAST_BLOCKS = 320
# Calls in sum: long enough that no ring holds them all. What peers reach shows sooner.
_FLAT_OUT = 200_000
_FLAT_OUT_PEERS = 40_000
_QUESTIONS = 5
_RATE = 200_000
_RATE_WORKERS = 64
_WORK_LOOPS = 150
_DEADLINE_S = 120.0


class _Run(msgspec.Struct):
    """What so many workers found with one subject in one round."""

    subject: str
    workers: int
    cost_us: float
    background_us: float
    work_us: float
    rate: float
    question_ms: float | None
    lost_percent: float = 0.0
    collector_us: float = 0.0
    slots: int = 0
    shared_mib: float = 0.0


def scale(*, quick: bool) -> list[Row]:
    """The rows."""
    workers = _QUICK if quick else _WORKERS
    growth = _runs(f"growth({(1, max(workers))}, {3 if quick else 7})")
    runs = _runs(f"everything({workers}, {1 if quick else 3})")
    paced = json.loads(_run_here(f"at_rate({1 if quick else 5})"))
    rows = _growth(growth)
    name = f"{_RATE_WORKERS} workers, {_RATE:,} calls/s in sum"
    rows.append(Row(name=f"{name}: lost", value=paced["lost"], unit="calls", target=0))
    # Without this, nothing lost would mean nothing.
    rows.append(Row(name=f"{name}: reached", value=paced["rate"], unit="calls/s"))
    rows += _peers(runs, workers)
    for subject, count in product(_NAMES, workers):
        found = [run for run in runs if (run.subject, run.workers) == (subject, count)]
        rows += _figures(found)
    return rows


def _growth(runs: Sequence[_Run]) -> list[Row]:
    """How the cost grows from few to many workers, and how the work itself does."""
    few, many = sorted({run.workers for run in runs})
    cost = _by_workers(runs, "shmperf", lambda run: run.cost_us)
    work = _by_workers(runs, "shmperf", lambda run: run.work_us)
    share = _by_workers(runs, "shmperf", lambda run: run.cost_us / run.work_us)
    title = f"CPU time a call, {few} → {many} workers"
    whats = ((title, cost), (f"{title}: the work itself", work), (f"{title}: as work", share))
    rows = [row_of(name, _more(of[many], of[few]), "% more") for name, of in whats]
    rows[0].target = 10
    return rows


def _more(figures: Sequence[float], others: Sequence[float]) -> list[float]:
    return [(one / other - 1) * 100 for one, other in zip(figures, others, strict=True)]


def _peers(runs: Sequence[_Run], workers: Sequence[int]) -> list[Row]:
    rows = []
    ours = _by_workers(runs, "shmperf", lambda run: run.cost_us)
    for subject, name in _PEERS.items():
        theirs = _by_workers(runs, subject, lambda run: run.cost_us)
        if not theirs:
            continue
        few, many = min(workers), max(workers)
        for count in (few, many):
            title = f"{_many(count)}: CPU time a call, shmperf ÷ {name}"
            rows.append(ratio(title, ours[count], theirs[count]))
        title = f"CPU time a call, {few} → {many} workers, {name}"
        rows.append(row_of(title, _more(theirs[many], theirs[few]), "% more"))
    return rows


def _by_workers(
    runs: Sequence[_Run], subject: str, figure: Callable[[_Run], float]
) -> Mapping[int, list[float]]:
    found: dict[int, list[float]] = {}
    for run in runs:
        if run.subject == subject:
            found.setdefault(run.workers, []).append(figure(run))
    return found


def _figures(runs: Sequence[_Run]) -> list[Row]:
    """The rows of one subject at one number of workers."""
    if not runs:
        return []
    subject, who = runs[0].subject, f"{_many(runs[0].workers)}, {_NAMES[runs[0].subject]}"
    rows = [
        row_of(f"{who}: CPU time a call", [run.cost_us for run in runs], "µs"),
        row_of(f"{who}: calls", [run.rate for run in runs], "calls/s"),
    ]
    asked = [run.question_ms for run in runs if run.question_ms is not None]
    if asked:
        rows.append(row_of(f"{who}: all figures, asked for once", asked, "ms"))
    if subject == "opentelemetry":
        exported = [run.background_us for run in runs]
        rows.append(row_of(f"{who}: of which export to nowhere", exported, "µs"))
    if subject == "shmperf":
        lost = [run.lost_percent for run in runs]
        rows.append(row_of(f"{who}: lost, flat out", lost, "%"))
        collector = [run.collector_us for run in runs]
        rows.append(row_of(f"{who}: collector's CPU time a call", collector, "µs"))
        slots = [float(run.slots) for run in runs]
        rows.append(row_of(f"{who}: a ring has grown to", slots, "slots"))
        shared = [run.shared_mib for run in runs]
        rows.append(row_of(f"{who}: shared memory of one", shared, "MiB"))
    return rows


def _many(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


# --- in a process of its own ----------------------------------------------------------------------


def _runs(call: str) -> list[_Run]:
    return msgspec.json.decode(_run_here(call), type=list[_Run])


def _run_here(call: str) -> str:
    with private_place() as (cwd, environ):
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(cwd / "metrics")
        (cwd / "metrics").mkdir()
        return run_python(f"import bench.scale as s; s.{call}", cwd, environ).splitlines()[-1]


def _work() -> int:
    """A few microseconds of something."""
    total = 0
    for number in range(_WORK_LOOPS):
        total += number
    return total


_tracked = shmperf.track(name="tool")(_work)


def everything(workers: Sequence[int], rounds: int) -> None:
    """Measure all subjects in turn, and print the runs as one line of JSON."""
    _tracked()
    pid = collector_pid()
    subjects = ("shmperf", *installed(_PEERS))
    runs = []
    for round_ in range(rounds):
        order = [(count, name) for count in workers for name in subjects]
        for count, subject in order if round_ % 2 == 0 else reversed(order):
            runs.append(_ours(count, pid) if subject == "shmperf" else _theirs(subject, count))
    print(msgspec.json.encode(runs).decode())


def growth(workers: Sequence[int], rounds: int) -> None:
    """
    Measure only how our cost grows, few workers and many in turn; print the runs.

    Close together: a shared machine's speed changes within the seconds that everything takes.
    """
    _tracked()
    collector_pid()
    runs = []
    for round_ in range(rounds):
        for count in workers if round_ % 2 == 0 else reversed(workers):
            runs.append(_together("shmperf", count, None, 0))
            # Let the collector come to rest: it is no part of what the next one is to show.
            shmperf.get_perf_stats()
    print(msgspec.json.encode(runs).decode())


def _ours(workers: int, pid: int) -> _Run:
    before, before_s = shmperf.get_perf_stats(), cpu_s(pid)
    run = _together("shmperf", workers, shmperf.get_perf_stats, _FLAT_OUT // workers)
    after, after_s = shmperf.get_perf_stats(), cpu_s(pid)
    calls = after["begun"] - before["begun"]
    lost = sum(after["lost"].values()) - sum(before["lost"].values())
    run.lost_percent = lost / calls * 100
    run.collector_us = (after_s - before_s) * 1e6 / calls
    return run


def _theirs(subject: str, workers: int) -> _Run:
    calls = _FLAT_OUT_PEERS // workers
    if subject != "prometheus":
        return _together(subject, workers, None, calls)
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415  a peer
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    def scrape() -> None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        generate_latest(registry)

    try:
        return _together(subject, workers, scrape, calls)
    finally:
        for file in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).iterdir():
            file.unlink()


def _together(subject: str, workers: int, question: Callable[[], Any] | None, calls: int) -> _Run:
    """All workers through their phases at the same time, *calls* of each flat out."""
    blocks = max(_BLOCKS, _LEAST_BLOCKS // workers)
    context = get_context("fork")
    barrier, results = context.Barrier(workers + 1), context.Queue()
    processes = [
        context.Process(target=_phases, args=(barrier, results, subject, blocks, calls))
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    # Warm, measured, and finished; then the question is asked while all are still there.
    for _ in range(3):
        barrier.wait(_DEADLINE_S)
    question_ms = None if question is None else _asked_ms(question)
    barrier.wait(_DEADLINE_S)
    found = [results.get(timeout=_DEADLINE_S) for _ in processes]
    for process in processes:
        process.join()
    took_s = max(one["end_s"] for one in found) - min(one["start_s"] for one in found)
    mean = {key: statistics.mean(one[key] for one in found) for key in ("cost", "rest", "work")}
    return _Run(
        subject=subject,
        workers=workers,
        cost_us=(mean["cost"] + mean["rest"]) / 1000,
        background_us=mean["rest"] / 1000,
        work_us=mean["work"] / 1000,
        rate=workers * calls / took_s,
        question_ms=question_ms,
        slots=max(one["slots"] for one in found),
        shared_mib=max(one["shared_mib"] for one in found),
    )


def _asked_ms(question: Callable[[], Any]) -> float:
    # What is still to be drained is not the question's cost.
    question()
    took = []
    for _ in range(_QUESTIONS):
        start = time.perf_counter()
        question()
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def _phases(barrier: Any, results: Any, subject: str, blocks: int, calls: int) -> None:
    try:
        results.put(_measured(barrier, subject, blocks, calls))
    except BaseException:
        # Or everybody else would wait for us.
        barrier.abort()
        raise


def _measured(barrier: Any, subject: str, blocks: int, calls: int) -> dict[str, float]:
    peer = Peer(_tracked) if subject == "shmperf" else made(subject, _work)
    peer.before()
    for _ in range(_WARM):
        peer.call()
    peer.after()
    barrier.wait(_DEADLINE_S)
    found: dict[str, float] = _in_blocks(peer, blocks)
    barrier.wait(_DEADLINE_S)
    found["start_s"] = time.monotonic()
    for _ in range(calls):
        peer.call()
    peer.after()
    found["end_s"] = time.monotonic()
    found |= _memory() if subject == "shmperf" else {"slots": 0, "shared_mib": 0.0}
    barrier.wait(_DEADLINE_S)
    barrier.wait(_DEADLINE_S)
    return found


def _in_blocks(peer: Peer, blocks: int) -> dict[str, float]:
    """Nanoseconds of CPU time a call: above the work, of the rest of the process, of the work."""
    process_ns, thread_ns = time.process_time_ns(), time.thread_time_ns()
    marks = [thread_ns]
    for _ in range(blocks):
        for function in (_work, peer.call):
            for _ in range(_BLOCK):
                function()
            marks.append(time.thread_time_ns())
    peer.after()
    process_ns, thread_ns = time.process_time_ns() - process_ns, time.thread_time_ns() - thread_ns
    took = [later - earlier for earlier, later in pairwise(marks)]
    work_ns, recorded_ns = statistics.median(took[::2]), statistics.median(took[1::2])
    return {
        "cost": (recorded_ns - work_ns) / _BLOCK,
        "rest": max(0, process_ns - thread_ns) / (blocks * _BLOCK),
        "work": work_ns / _BLOCK,
    }


def _memory() -> dict[str, float]:
    """How far this worker's ring has grown, and its shared memory really used."""
    lane = tool_named("tool").lane
    assert lane is not None
    assert worker.segment is not None
    used = os.stat(f"/dev/shm/{worker.segment.name}").st_blocks * 512  # noqa: PTH116, S108
    return {"slots": lane.writer.slots, "shared_mib": used / (1 << 20)}


def at_rate(seconds: float) -> None:
    """All workers at a given rate in sum: what was lost, and the rate they really reached."""
    _nothing()
    shmperf.get_perf_stats()
    context = get_context("fork")
    barrier = context.Barrier(_RATE_WORKERS + 1)
    calls = int(_RATE * seconds / _RATE_WORKERS)
    processes = [
        context.Process(target=_paced, args=(barrier, calls, seconds)) for _ in range(_RATE_WORKERS)
    ]
    for process in processes:
        process.start()
    barrier.wait(_DEADLINE_S)
    start = time.monotonic()
    for process in processes:
        process.join()
    took_s = time.monotonic() - start
    stats = shmperf.get_perf_stats()
    lost = sum(stats["lost"].values())
    print(json.dumps({"lost": lost, "rate": _RATE_WORKERS * calls / took_s}))


_nothing = shmperf.track(name="nothing")(tool)


def _paced(barrier: Any, calls: int, seconds: float) -> None:
    """Calls in bunches of 20, spread over the time."""
    _nothing()
    barrier.wait(_DEADLINE_S)
    start = time.perf_counter()
    for number in range(calls):
        if number % 20 == 0:
            ahead_s = start + seconds * number / calls - time.perf_counter()
            if ahead_s > 0:
                time.sleep(ahead_s)
        _nothing()
