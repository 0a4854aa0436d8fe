"""
What a call of a sampled tool costs, what a budget makes of a short tool, and how right figures are.

Costs are above the bare call, in one process, taking turns, as in `overhead`; a call that is
counted is compared with one that has a record, round by round. The factors by which a collector
knows them without a worker (see shmperf/collector/cost.py) are measured here as well.

Percentiles are compared with the truth: durations that are known, of which one in a hundred is
recorded at random and with it every slow one, as workers do it, in batches as they are drained.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable

import shmperf
from shmperf.analysis.tooltotals import ToolTotals
from shmperf.analysis.totals import Totals
from shmperf.collector.cost import CLOCKS, COUNTED, RECORDED, reference_ns
from shmperf.worker.process import tool_named, worker

from .measure import (
    NO_RUNS,
    Row,
    Series,
    collector_pid,
    in_turn,
    pin,
    private_place,
    ratio,
    row_of,
    run_python,
)
from .peers import Subject, timed, tool

__all__ = ["sampling"]

_COUNT = 1_000
_NEVER = 1_000_000
_SLOW_NS = 10**12
_BUDGET = 0.05
_SETTLED_S = 3.0
_EVERY, _BATCH = 100, 4_000
_SHAPES: dict[str, Callable[[random.Random], float]] = {
    "log-normal": lambda rng: rng.lognormvariate(13, 1),
    "heavy tail": lambda rng: 1e5 * rng.paretovariate(1.5),
    "two kinds": lambda rng: rng.gauss(1e6, 5e4) if rng.random() < 0.9 else rng.gauss(2e7, 1e6),
}


def sampling(*, quick: bool) -> list[Row]:
    """The rows."""
    rounds = 15 if quick else 60
    return [*_costs(rounds), *_budget(rounds), *_errors(5 if quick else 20)]


# --- what a call costs ----------------------------------------------------------------------------


def _costs(rounds: int) -> list[Row]:
    with private_place() as (cwd, environ):
        text = f"{NO_RUNS}sampling: {{tools: {{counted: {_NEVER}, clocked: {_NEVER}}}}}\n"
        (cwd / "config/tool_perf_limits.yaml").write_text(text)
        code = f"from bench.sampling import main_with_costs; main_with_costs({rounds})"
        series: Series = json.loads(run_python(code, cwd, environ).splitlines()[-1])
    bare, reference = series.pop("bare"), series.pop("reference")
    above = {
        name: [(one - other) / 1000 for one, other in zip(figures, bare, strict=True)]
        for name, figures in series.items()
    }
    clocks = [c - n for c, n in zip(above["clocked"], above["counted"], strict=True)]
    in_references = {
        f"recorded, in references (the collector takes {RECORDED})": above["recorded"],
        f"counted, in references (the collector takes {COUNTED})": above["counted"],
        f"two clocks, in references (the collector takes {CLOCKS})": clocks,
    }
    references_us = [figure / 1000 for figure in reference]
    return [
        row_of("a call with a record", above["recorded"], "µs"),
        row_of("a call that is counted, no clock", above["counted"], "µs"),
        row_of("a call that is counted, with clocks", above["clocked"], "µs"),
        ratio("counted, no clock, of a record", above["counted"], above["recorded"], 0.35),
        ratio("counted, with clocks, of a record", above["clocked"], above["recorded"], 0.5),
        *(ratio(name, figures, references_us) for name, figures in in_references.items()),
    ]


def main_with_costs(rounds: int) -> None:
    """Measure in this process, and print the series as one line of JSON."""
    tools = {name: shmperf.track(name)(tool) for name in ("recorded", "counted", "clocked")}
    for tracked in tools.values():
        for _ in range(3):
            tracked()
    pin(collector_pid())
    clocked = tool_named("clocked").sampler
    if clocked is None or worker.session is None:
        raise RuntimeError("the tool is not sampled")
    clocked.open(worker.session.word[0], worker.session.word, _NEVER, _SLOW_NS)
    subjects: dict[str, Subject] = {"bare": timed(tool), "reference": lambda _: reference_ns()}
    subjects |= {name: _drained(timed(tracked)) for name, tracked in tools.items()}
    print(json.dumps(in_turn(subjects, rounds, _COUNT)))


def _drained(subject: Subject) -> Subject:
    def run(count: int) -> float:
        found = subject(count)
        shmperf.get_perf_stats("recorded")
        return found

    return run


# --- what a budget makes of it --------------------------------------------------------------------


def _budget(rounds: int) -> list[Row]:
    rows = []
    for micros in (2, 20, 200):
        with private_place() as (cwd, environ):
            text = f"{NO_RUNS}sampling: {{overhead_budget: {_BUDGET}}}\n"
            (cwd / "config/tool_perf_limits.yaml").write_text(text)
            code = f"from bench.sampling import main_with_budget as m; m({micros}, {rounds})"
            found = json.loads(run_python(code, cwd, environ).splitlines()[-1])
        pairs = zip(found["tracked"], found["bare"], strict=True)
        shares = [100 * (tracked - bare) / bare for tracked, bare in pairs]
        name = f"a tool of {micros} µs, budget {_BUDGET:.0%}: recorded 1 of {found['every']}"
        rows.append(row_of(name, shares, "% more", target=100 * _BUDGET))
    return rows


def main_with_budget(micros: int, rounds: int) -> None:
    """A tool of about so many microseconds in a tight loop, then beside the same without us."""
    loops = _loops_for(micros * 1000)

    def work() -> int:
        mixed = 0
        for number in range(loops):
            mixed += number
        return mixed

    tracked = shmperf.track("tool")(work)
    until = time.monotonic() + _SETTLED_S
    while time.monotonic() < until:
        tracked()
    pin(collector_pid())
    count = max(20, 2_000 // micros)
    subjects: dict[str, Subject] = {"bare": timed(work), "tracked": timed(tracked)}
    found = in_turn(subjects, rounds, count)
    if worker.session is None:
        raise RuntimeError("nothing was recorded")
    every = worker.session.settings.sampling_of("tool").every
    print(json.dumps({**found, "every": every}))


def _loops_for(ns: int) -> int:
    def work(loops: int) -> float:
        start, mixed = time.perf_counter_ns(), 0
        for number in range(loops):
            mixed += number
        return time.perf_counter_ns() - start

    a_loop = min(work(20_000) for _ in range(9)) / 20_000
    return max(1, round(ns / a_loop))


# --- how right the figures are --------------------------------------------------------------------


def _errors(seeds: int) -> list[Row]:
    rows = []
    for shape, draw in _SHAPES.items():
        off: dict[float, list[float]] = {0.5: [], 0.95: [], 0.99: []}
        for seed in range(seeds):
            found, truth = _estimated(draw, seed)
            for q, figures in off.items():
                exact = truth.quantile(q) or 1
                figures.append(100 * ((found.quantile(q) or 0) / exact - 1))
        for q, figures in off.items():
            rms = statistics.fmean(figure**2 for figure in figures) ** 0.5
            name = f"p{100 * q:.0f} of 200,000 calls, {shape}, 1 of {_EVERY} and the slow ones, rms"
            rows.append(Row(name=name, value=rms, unit="% off", rounds=seeds))
    return rows


def _estimated(draw: Callable[[random.Random], float], seed: int) -> tuple[Totals, Totals]:
    """What is known of calls, and what all of them were."""
    rng = random.Random(seed)  # noqa: S311  durations that are made up
    durations = [max(1, int(draw(rng))) for _ in range(200_000)]
    slow_ns = sorted(durations)[len(durations) * 99 // 100]
    analysis, truth = ToolTotals(), Totals()
    truth.add(durations, 0, 1)
    for first in range(0, len(durations), _BATCH):
        batch = durations[first : first + _BATCH]
        chosen = [(d, rng.random() * _EVERY < 1) for d in batch]
        recorded = [d for d, is_chosen in chosen if is_chosen or d > slow_ns]
        analysis.of("tool").add(recorded, 0, 1)
        analysis.of("tool").count_out(len(batch) - len(recorded), 1)
        ordinary = [d for d, is_chosen in chosen if is_chosen and d <= slow_ns]
        analysis.shape_of("tool").add(ordinary)
        analysis.take_delta()
    return analysis.known["tool"], truth
