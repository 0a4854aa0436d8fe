"""
What recording costs tools that do something: percentage of their time, with its confidence.

The tools compute, for about 10 µs to 10 ms; the same work is done tracked and untracked in turn, in
one process, so a pair of rounds differs by the recording and by noise.
"""

from __future__ import annotations

import hashlib
import json
from time import perf_counter_ns

import shmperf

from .measure import Row, Series, collector_pid, interval, pin, private_place, run_python

__all__ = ["relative"]

_SIZES_US = (10, 100, 1_000, 10_000)
_TARGETS = {100: 1.0}


def relative(*, quick: bool) -> list[Row]:
    """The rows."""
    with private_place() as (cwd, environ):
        code = f"from bench.relative import main; main({40 if quick else 200})"
        found: Series = json.loads(run_python(code, cwd, environ).splitlines()[-1])
    rows = []
    for name, figures in found.items():
        size_us = int(name)
        low, high = interval(figures)
        title = f"a tool of {size_us:,} µs, normal mode (95 % of the median)"
        value = sorted(figures)[len(figures) // 2]
        target = _TARGETS.get(size_us)
        rows.append(
            Row(
                name=title,
                value=value,
                unit="% more",
                low=low,
                high=high,
                rounds=len(figures),
                target=target,
            )
        )
    return rows


def main(rounds: int) -> None:
    """Measure in this process; percentages by size, as one line of JSON."""
    tracked = shmperf.track(name="work")(_work)
    tracked(1)
    pin(collector_pid())
    found: Series = {}
    for size_us in _SIZES_US:
        loops = _calibrated(size_us)
        calls = max(1, 10_000 // size_us)
        found[str(size_us)] = figures = []
        for number in range(rounds):
            # Whoever is first may have a disadvantage, so they change places.
            order = (_work, tracked) if number % 2 else (tracked, _work)
            spent = {function: _best(function, loops, calls) for function in order}
            figures.append((spent[tracked] / spent[_work] - 1) * 100)
    print(json.dumps(found))


def _work(loops: int) -> str:
    """Real work without system calls: hashing."""
    found = b"shmperf"
    for _ in range(loops):
        found = hashlib.sha256(found).digest()
    return found.hex()


def _best(function: object, loops: int, calls: int) -> int:
    """Nanoseconds of the better of two tries."""
    tries = []
    for _ in range(2):
        start = perf_counter_ns()
        for _ in range(calls):
            function(loops)  # type: ignore[operator]  either of the two above
        tries.append(perf_counter_ns() - start)
    return min(tries)


def _calibrated(size_us: int) -> int:
    """How many loops take about *size_us*."""
    start = perf_counter_ns()
    _work(2_000)
    return max(1, round(size_us * 1000 * 2_000 / (perf_counter_ns() - start)))
