"""
What recording a call costs the program that makes it, beside its peers.

Runs in a process of its own, since some peers want their environment set before they are imported.
Every figure is above the bare call. Rounds are short and shmperf's rings are drained between them,
as in a program whose tools do something.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns

import shmperf

from .measure import (
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
from .peers import PEERS, Subject, made, timed, tool
from .stages import STAGES, floor_clocks, floor_store, stages

__all__ = ["CHART", "overhead"]

_COUNT = 1_000

_TITLES = {
    "normal": "track, normal mode",
    "two arguments": "track, two arguments",
    "keywords": "track, keyword arguments",
    "dict": "track, a dict argument",
    "text": "track, a text of 10,000 characters",
    "optimization": "track, optimization mode",
    "off": "track, tracking off",
    "limit 0": "track, limit 0",
    "block": "call block",
    "pair": "track_tool_call pair",
    "async": "track, coroutine",
    "floor clocks": "floor: wrapper and two clocks",
    "floor store": "floor: clocks, encode and one store",
    **PEERS,
}
# What the chart compares.
CHART = {name: _TITLES[name] for name in ("off", "normal", "optimization", *PEERS)}
_TARGETS = {"normal": 1.4, "optimization": 5.0, "off": 0.1, "limit 0": 0.3}
_RATIOS = {"opentelemetry": 0.08, "prometheus": 0.55, "viztracer": 0.55, "floor store": 2.0}


def overhead(*, quick: bool) -> list[Row]:
    """The rows, ratios first, then the breakdown."""
    with private_place() as (cwd, environ), tempfile.TemporaryDirectory() as metrics:
        environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
        code = f"from bench.overhead import main; main({15 if quick else 60})"
        text = run_python(code, cwd, environ)
    series: Series = json.loads(text.splitlines()[-1])
    above = {
        name: [(one - bare) / 1000 for one, bare in zip(figures, series["bare"], strict=True)]
        for name, figures in series.items()
    }
    normal = above["normal"]
    rows = [
        ratio(f"normal mode ÷ {_TITLES[name]}", normal, above[name], _RATIOS.get(name))
        for name in ("floor store", *PEERS)
        if name in above
    ]
    rows += [
        row_of(title, above[name], "µs", target=_TARGETS.get(name))
        for name, title in _TITLES.items()
        if name in above
    ]
    return rows + _breakdown(above)


def _breakdown(above: Series) -> list[Row]:
    rows = []
    before = [0.0] * len(above["normal"])
    for name in (*STAGES, "normal"):
        title = "protocol and drain" if name == "normal" else name
        steps = [now - former for now, former in zip(above[name], before, strict=True)]
        rows.append(row_of(f"of which: {title}", steps, "µs"))
        before = above[name]
    return rows


def main(rounds: int) -> None:
    """Measure in this process, and print the series as one line of JSON."""
    Path("config").mkdir()
    Path("config/tool_perf_limits.yaml").write_text("tool_limits: {untracked: 0}\n")
    subjects = _subjects()
    subjects["normal"](_COUNT)
    pin(collector_pid())
    print(json.dumps(in_turn(subjects, rounds, _COUNT)))


def _tool_with_two(one: int, two: object) -> None:
    """The same with parameters."""


async def _async_tool() -> None:
    """The same as a coroutine."""


def _subjects() -> dict[str, Subject]:
    tracked = shmperf.track(name="tool")(tool)
    with_two = shmperf.track(name="with_two")(_tool_with_two)
    untracked = shmperf.track(name="untracked")(tool)
    text = "All happy families are alike. " * 334
    return {
        "bare": timed(tool),
        "normal": _drained(timed(tracked)),
        "two arguments": _drained(timed(lambda: with_two(3, "abc"))),
        "keywords": _drained(timed(lambda: with_two(one=3, two="abc"))),
        "dict": _drained(timed(lambda: with_two(3, {"param1": "value1"}))),
        "text": _drained(timed(lambda: with_two(3, text))),
        "optimization": _in_detail(timed(tracked)),
        "off": _switched_off(timed(tracked)),
        "limit 0": timed(untracked),
        "block": _drained(_blocks),
        "pair": _drained(_pairs),
        "async": _drained(_coroutines),
        "floor clocks": timed(floor_clocks()),
        "floor store": timed(floor_store()),
        **{name: timed(function) for name, function in stages().items()},
        **made(),
    }


def _drained(subject: Subject) -> Subject:
    """*subject* with empty rings to begin with."""

    def run(count: int) -> float:
        shmperf.get_perf_stats("tool")
        return subject(count)

    return run


@contextmanager
def _optimization() -> Iterator[None]:
    shmperf.set_optimization_mode(True)
    yield
    shmperf.set_optimization_mode(False)


def _in_detail(subject: Subject) -> Subject:
    def run(count: int) -> float:
        with _optimization():
            return _drained(subject)(count)

    return run


def _switched_off(subject: Subject) -> Subject:
    def run(count: int) -> float:
        shmperf.get_tracker().enabled = False
        try:
            return subject(count)
        finally:
            shmperf.get_tracker().enabled = True

    return run


def _blocks(count: int) -> float:
    start = perf_counter_ns()
    for _ in range(count):
        with shmperf.call("block"):
            pass
    return (perf_counter_ns() - start) / count


def _pairs(count: int) -> float:
    start = perf_counter_ns()
    for _ in range(count):
        shmperf.end_tool_call(shmperf.track_tool_call("pair", {}))
    return (perf_counter_ns() - start) / count


_tracked_coroutine = shmperf.track(name="coroutine")(_async_tool)


def _coroutines(count: int) -> float:
    async def repeat() -> float:
        start = perf_counter_ns()
        for _ in range(count):
            await _async_tool()
        between = perf_counter_ns()
        for _ in range(count):
            await _tracked_coroutine()
        return (perf_counter_ns() - between - (between - start)) / count

    return asyncio.run(repeat())
