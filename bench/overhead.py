"""
What recording a call costs the program that makes it, beside its peers.

Runs in a process of its own, since some peers want their environment set before they are imported.
Every figure but the bare calls' is above the same call unrecorded. Rounds are short and shmperf's
rings are drained between them, as in a program whose tools do something; a call that is lost is
cheap, so how many were is told.

The floor and the stages are measured with a call that has two arguments: without any there is
nothing to encode.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import shmperf
from shmperf.compiled.chosen import hot

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
from .peers import PEERS, Subject, installed, made, timed, tool
from .stages import STAGES, floor_clocks, floor_store, stages

__all__ = [
    "CHART",
    "awaited",
    "block",
    "coroutine",
    "drained",
    "given",
    "in_detail",
    "overhead",
    "pair",
    "with_two",
]

_COUNT = 1_000
_WARM = 20


class _Shown(NamedTuple):
    """How a subject is called, what is taken off it, and its target in µs."""

    title: str
    bare: str = "bare"
    target: float | None = None


_SHOWN = {
    "track normal": _Shown("track, normal mode", target=1.4),
    "track off": _Shown("track, tracking off", target=0.1),
    "limit 0": _Shown("track, limit 0", target=0.3),
    "track optimization": _Shown("track, optimization mode", target=5.0),
    "two arguments": _Shown("track, normal mode, two arguments", "bare two"),
    "keywords": _Shown("track, normal mode, keyword arguments", "bare keywords"),
    "dict": _Shown("track, normal mode, a dict argument", "bare two"),
    "text": _Shown("track, normal mode, a text of 10,000 characters", "bare two"),
    "call off": _Shown("call block, tracking off"),
    "call normal": _Shown("call block, normal mode"),
    "call optimization": _Shown("call block, optimization mode"),
    "pair off": _Shown("track_tool_call pair, tracking off"),
    "pair normal": _Shown("track_tool_call pair, normal mode"),
    "pair optimization": _Shown("track_tool_call pair, optimization mode"),
    "async off": _Shown("track a coroutine, tracking off", "bare async"),
    "async normal": _Shown("track a coroutine, normal mode", "bare async"),
    "async optimization": _Shown("track a coroutine, optimization mode", "bare async"),
    "floor clocks": _Shown("floor: wrapper and two clocks", "bare two"),
    "floor store": _Shown("floor: clocks, encode and one store", "bare two"),
    **{name: _Shown(title) for name, title in PEERS.items()},
}
# What the chart and the README compare: every subject, by the title of its row.
CHART = {
    name: _SHOWN[name].title for name in ("track off", "track normal", "track optimization", *PEERS)
}
if hot is None:
    _RATIOS = {"opentelemetry": 0.075, "prometheus": 0.5, "viztracer": 0.5}
elif sys.version_info < (3, 13):
    _RATIOS = {"opentelemetry": 0.045, "prometheus": 0.3, "viztracer": 0.3}
else:
    _RATIOS = {"opentelemetry": 0.016, "prometheus": 0.11, "viztracer": 0.12}


def overhead(*, quick: bool) -> list[Row]:
    """The rows, ratios first, then the breakdown."""
    with private_place() as (cwd, environ), tempfile.TemporaryDirectory() as metrics:
        environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
        code = f"from bench.overhead import main; main({15 if quick else 100})"
        text = run_python(code, cwd, environ)
    found = json.loads(text.splitlines()[-1])
    return _rows(found["series"], found["lost"])


def _rows(series: Series, lost: int) -> list[Row]:
    above = {
        name: _less(series[name], series[shown.bare])
        for name, shown in _SHOWN.items()
        if name in series
    }
    rows = [
        ratio(f"{mine} ÷ {_SHOWN[name].title}", above[subject], above[name], _RATIOS.get(name))
        for mine, subject in (
            ("normal mode, two arguments", "two arguments"),
            ("normal mode, keyword arguments", "keywords"),
        )
        for name in PEERS
        if name in above
    ]
    title = f"normal mode, two arguments ÷ {_SHOWN['floor store'].title}"
    rows.append(ratio(title, above["two arguments"], above["floor store"], 2.0))
    rows += [
        row_of(shown.title, above[name], "µs", target=shown.target)
        for name, shown in _SHOWN.items()
        if name in above
    ]
    rows += _breakdown(series)
    rows.append(row_of("a bare call", [figure / 1000 for figure in series["bare"]], "µs"))
    rows.append(Row(name="calls lost while this was measured", value=lost, unit="calls"))
    return rows


def _less(figures: list[float], bare: list[float]) -> list[float]:
    """Microseconds above *bare*, round by round."""
    return [(one - other) / 1000 for one, other in zip(figures, bare, strict=True)]


def _breakdown(series: Series) -> list[Row]:
    rows = []
    before = series["bare two"]
    for name in (*STAGES, "two arguments"):
        title = "protocol and drain" if name == "two arguments" else name
        steps = _less(series[name], before)
        rows.append(row_of(f"normal mode, two arguments, of which: {title}", steps, "µs"))
        before = series[name]
    return rows


def main(rounds: int) -> None:
    """Measure in this process, and print the series as one line of JSON."""
    text = f"{NO_RUNS}tool_limits: {{untracked: 0}}\n"
    Path("config/tool_perf_limits.yaml").write_text(text)
    subjects = _subjects()
    pin(collector_pid())
    series = in_turn(subjects, rounds, _COUNT)
    lost = sum(shmperf.get_perf_stats()["lost"].values())
    print(json.dumps({"series": series, "lost": lost}))


def with_two(one: int, two: object) -> None:
    """A tool with parameters."""


async def coroutine() -> None:
    """A tool that is a coroutine."""


def block() -> None:
    with shmperf.call("block"):
        tool()


def pair() -> None:
    call_id = shmperf.track_tool_call("pair", {})
    tool()
    shmperf.end_tool_call(call_id)


def _subjects() -> dict[str, Subject]:
    tracked = shmperf.track(name="tool")(tool)
    two = shmperf.track(name="with_two")(with_two)
    untracked = shmperf.track(name="untracked")(tool)
    text = "All happy families are alike. " * 334
    ways = {
        "track": timed(tracked),
        "call": timed(block),
        "pair": timed(pair),
        "async": awaited(shmperf.track(name="coroutine")(coroutine)),
    }
    found = {
        "bare": timed(tool),
        "bare two": given(with_two, 3, "abc"),
        "bare keywords": timed(lambda: with_two(one=3, two="abc")),
        "bare async": awaited(coroutine),
    }
    for name, way in ways.items():
        found[f"{name} normal"] = drained(way)
        found[f"{name} optimization"] = in_detail(drained(way))
        found[f"{name} off"] = _switched_off(way)
    found |= {
        "limit 0": timed(untracked),
        "two arguments": drained(given(two, 3, "abc")),
        "keywords": drained(timed(lambda: two(one=3, two="abc"))),
        "dict": drained(given(two, 3, {"param1": "value1"})),
        "text": drained(given(two, 3, text)),
        "floor clocks": given(floor_clocks(with_two), 3, "abc"),
        "floor store": given(floor_store(with_two), 3, "abc"),
    }
    found |= {name: given(stage, 3, "abc") for name, stage in stages(with_two).items()}
    return found | {name: made(name).subject() for name in installed()}


def given(function: Callable[..., Any], one: int, two: object) -> Subject:
    def run(count: int) -> float:
        start = perf_counter_ns()
        for _ in range(count):
            function(one, two)
        return (perf_counter_ns() - start) / count

    return run


def awaited(function: Callable[[], Any]) -> Subject:
    async def repeat(count: int) -> float:
        start = perf_counter_ns()
        for _ in range(count):
            await function()
        return (perf_counter_ns() - start) / count

    return lambda count: asyncio.run(repeat(count))


def drained(subject: Subject) -> Subject:
    """*subject* with empty rings to begin with, and past a change of the mode."""

    def run(count: int) -> float:
        subject(_WARM)
        shmperf.get_perf_stats("tool")
        return subject(count)

    return run


def in_detail(subject: Subject) -> Subject:
    def run(count: int) -> float:
        shmperf.set_optimization_mode(True)
        try:
            return subject(count)
        finally:
            shmperf.set_optimization_mode(False)

    return run


def _switched_off(subject: Subject) -> Subject:
    def run(count: int) -> float:
        shmperf.get_tracker().enabled = False
        try:
            return subject(count)
        finally:
            shmperf.get_tracker().enabled = True

    return run
