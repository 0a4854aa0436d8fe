"""
What recording costs tools that do something: percentage of their time, with its confidence.

The tools compute, for about 10 µs to 10 ms; the same work is done tracked and untracked in turn, in
one process, so a pair of rounds differs by the recording and by noise. How much is noise, a second
untracked tool tells: what it seems to cost more than the first is what nobody can measure here.

The work is one call into C. A loop in Python, tried first, ran up to 4 % *faster* when tracked: its
speed hangs on where its frame happens to lie (Mytkowicz et al., Producing Wrong Data Without Doing
Anything Obviously Wrong, ASPLOS 2009).
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable
from time import perf_counter_ns

import shmperf

from .measure import Row, Series, collector_pid, interval, pin, private_place, run_python

__all__ = ["relative"]

_SIZES_US = (10, 100, 1_000, 10_000)
_TARGETS = {100: 1.0}
_SPAN_US = 5_000

Work = Callable[[int], str]


def relative(*, quick: bool) -> list[Row]:
    """The rows; low and high are the 95 % confidence interval of the median."""
    with private_place() as (cwd, environ):
        code = f"from bench.relative import main; main({40 if quick else 200})"
        found: dict[str, Series] = json.loads(run_python(code, cwd, environ).splitlines()[-1])
    rows = []
    for subject in ("normal mode", "control, untracked"):
        for size, series in found.items():
            figures = series[subject]
            low, high = interval(figures)
            row = Row(
                name=f"a tool of {int(size):,} µs, {subject} (95 % interval)",
                value=statistics.median(figures),
                unit="% more",
                low=low,
                high=high,
                rounds=len(figures),
            )
            if subject == "normal mode":
                row.target = _TARGETS.get(int(size))
            rows.append(row)
    return rows


def main(rounds: int) -> None:
    """Measure in this process; percentages by size and subject, as one line of JSON."""
    work, control = _tool(), _tool()
    tracked = shmperf.track(name="work")(work)
    tracked(1)
    pin(collector_pid())
    found = {}
    for size_us in _SIZES_US:
        loops = _calibrated(work, size_us)
        calls = max(1, _SPAN_US // size_us)
        series: Series = {"normal mode": [], "control, untracked": []}
        order = [work, control, tracked]
        for _ in range(rounds):
            # Whoever is first may have a disadvantage, so they change places.
            order = order[1:] + order[:1]
            spent = {function: _best(function, loops, calls) for function in order}
            series["normal mode"].append((spent[tracked] / spent[work] - 1) * 100)
            series["control, untracked"].append((spent[control] / spent[work] - 1) * 100)
        found[str(size_us)] = series
    print(json.dumps(found))


def _tool() -> Work:
    def work(loops: int) -> str:
        """Real work without system calls: hashing."""
        return hashlib.pbkdf2_hmac("sha256", b"shmperf", b"salt", loops).hex()

    return work


def _best(function: Work, loops: int, calls: int) -> int:
    """Nanoseconds of the better of two tries."""
    tries = []
    for _ in range(2):
        start = perf_counter_ns()
        for _ in range(calls):
            function(loops)
        tries.append(perf_counter_ns() - start)
    return min(tries)


def _calibrated(work: Work, size_us: int) -> int:
    """How many loops take about *size_us*."""
    # A call costs something before its first loop, so the size itself is what is aimed at.
    loops = 1
    for _ in range(4):
        took_us = _best(work, loops, max(1, _SPAN_US // size_us)) / max(1, _SPAN_US // size_us)
        loops = max(1, round(loops * size_us * 1000 / took_us))
    return loops
