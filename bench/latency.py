"""How long after its end a call is visible in the statistics: idle, and with all cores busy."""

from __future__ import annotations

import json
import statistics

from .measure import Row, private_place, run_python

__all__ = ["latency"]

_TARGET_MS = 50

# The pause differs from the collector's own, so that calls end at any moment of its cycle.
_LATENCY = """
import json, time, shmperf
@shmperf.track
def tool(): pass
tool()
first = shmperf.get_perf_stats("tool")["count"]
found = []
for n in range({rounds}):
    tool()
    start = time.perf_counter()
    count = shmperf.get_perf_stats("tool")["count"]
    found.append((time.perf_counter() - start) * 1000)
    assert count == first + n + 1, (count, n)
    time.sleep(0.013)
print(json.dumps(found))
"""
_LOADED = """
import subprocess, sys
load = [subprocess.Popen([sys.executable, "-c", {load!r}], stdin=subprocess.PIPE) for _ in "12"]
try:
    exec({code!r})
finally:
    for program in load:
        program.kill()
        program.communicate()
"""
_LOAD = """
import shmperf
@shmperf.track
def load(): sum(range(300))
while True: load()
"""


def latency(*, quick: bool) -> list[Row]:
    """From the end of a call to statistics that count it."""
    code = _LATENCY.format(rounds=60 if quick else 300)
    loaded = _LOADED.format(load=_LOAD, code=code)
    return [*_rows("idle", code, _TARGET_MS), *_rows("two workers flat out beside it", loaded)]


def _rows(where: str, code: str, target: float | None = None) -> list[Row]:
    with private_place() as (cwd, environ):
        figures: list[float] = json.loads(run_python(code, cwd, environ))
    percentiles = statistics.quantiles(figures, n=100, method="inclusive")
    named = {"p50": percentiles[49], "p99": percentiles[98], "max": max(figures)}
    return [
        Row(
            name=f"end of a call → counted, {where}, {name}",
            value=value,
            unit="ms",
            rounds=len(figures),
            target=target if name == "p99" else None,
        )
        for name, value in named.items()
    ]
