"""
What recording costs tools that do something: percentage of their time, with its confidence.

The tools compute, for about 10 µs to 10 ms; the same work is done tracked and untracked in turn, in
one process, so a pair of rounds differs by the recording and by noise. How much is noise, a second
untracked tool tells: what it seems to cost more than the first is what nobody can measure here.
And how much is the collector at work on the next core, which virtual machines may share with ours,
tells the tracked tool while the collector is held still.

The work is one call into C. A loop in Python, tried first, ran up to 4 % *faster* when tracked: its
speed hangs on where its frame happens to lie (Mytkowicz et al., Producing Wrong Data Without Doing
Anything Obviously Wrong, ASPLOS 2009). For the same reason rounds are made at several depths of the
stack and in several processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import statistics
import sys
from collections.abc import Callable
from time import perf_counter_ns

import shmperf
from shmperf.compiled.chosen import hot

from .measure import Row, Series, collector_pid, interval, pin, private_place, run_python

__all__ = ["relative"]

_SIZES_US = (10, 100, 1_000, 10_000)
# Percent, of what works for so many microseconds.
_TARGETS = {100: 1.0}
if hot is not None and sys.version_info >= (3, 13):
    _TARGETS = {10: 3.0, 100: 0.4}
_SPAN_US = 5_000
_DEPTHS = 8

_SUBJECTS = ("normal mode", "normal mode, collector held still", "control, untracked")

Work = Callable[[int], str]


def relative(*, quick: bool) -> list[Row]:
    """The rows; low and high are the 95 % confidence interval of the median."""
    with private_place() as (cwd, environ):
        code = f"from bench.relative import main; main({8 if quick else 24})"
        parts: list[dict[str, Series]] = [
            json.loads(run_python(code, cwd, environ).splitlines()[-1])
            for _ in range(3 if quick else 6)
        ]
    found = {size: _joined([part[size] for part in parts]) for size in parts[0]}
    rows = []
    for subject in _SUBJECTS:
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
            if subject == _SUBJECTS[0]:
                row.target = _TARGETS.get(int(size))
            rows.append(row)
    return rows


def _joined(parts: list[Series]) -> Series:
    return {subject: [x for part in parts for x in part[subject]] for subject in parts[0]}


def main(rounds: int) -> None:
    """Measure in this process; percentages by size and subject, as one line of JSON."""
    work, control = _tool(), _tool()
    tracked = shmperf.track(name="work")(work)
    tracked(1)
    pid = collector_pid()
    pin(pid)

    def measure(subject: str, depth: int, loops: int, calls: int) -> int:
        if subject != _SUBJECTS[1]:
            function = {"": work, _SUBJECTS[0]: tracked}.get(subject, control)
            return _deeper(depth, function, loops, calls)
        os.kill(pid, signal.SIGSTOP)
        try:
            return _deeper(depth, tracked, loops, calls)
        finally:
            os.kill(pid, signal.SIGCONT)
            shmperf.get_perf_stats()

    found = {}
    for size_us in _SIZES_US:
        loops = _calibrated(work, size_us)
        calls = max(1, _SPAN_US // size_us)
        series: Series = {subject: [] for subject in _SUBJECTS}
        order = ["", *_SUBJECTS]
        for round_ in range(rounds):
            # Whoever is first may have a disadvantage, so they change places.
            order = order[1:] + order[:1]
            spent = {subject: measure(subject, round_ % _DEPTHS, loops, calls) for subject in order}
            for subject, figures in series.items():
                figures.append((spent[subject] / spent[""] - 1) * 100)
        found[str(size_us)] = series
    print(json.dumps(found))


def _tool() -> Work:
    def work(loops: int) -> str:
        """Real work without system calls: hashing."""
        return hashlib.pbkdf2_hmac("sha256", b"shmperf", b"salt", loops).hex()

    return work


def _deeper(depth: int, function: Work, loops: int, calls: int) -> int:
    """`_best`, so many frames further up the stack, in C as well."""
    if depth:
        return next(map(_deeper, [depth - 1], [function], [loops], [calls]))
    return _best(function, loops, calls)


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
