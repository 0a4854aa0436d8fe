"""
What recording a call costs the program that makes it, beside its peers.

Runs in a process of its own (``python -m bench.overhead``), since some peers want their environment
set before they are imported. Every figure is above the bare call. Rounds are short and shmperf's
rings are drained between them, as in a program whose tools do something.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from struct import Struct
from time import perf_counter_ns
from typing import Any

import msgspec

import shmperf

from .measure import Row, in_turn, private_place, ratio, row_of, run_python

__all__ = ["overhead"]

_COUNT = 1_000
_TARGET_US = 1.8


def overhead(*, quick: bool) -> list[Row]:
    """The rows, ratios first."""
    with private_place() as (cwd, environ), tempfile.TemporaryDirectory() as metrics:
        environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
        environ["PYTHONPATH"] = str(Path(__file__).parent.parent)
        code = f"from bench.overhead import main; main({15 if quick else 60})"
        text = run_python(code, cwd, environ)
    series: dict[str, list[float]] = json.loads(text.splitlines()[-1])
    above = {
        name: [one - bare for one, bare in zip(figures, series["bare"], strict=True)]
        for name, figures in series.items()
    }
    normal = above["normal"]
    rows = [
        ratio("normal mode ÷ OpenTelemetry span", normal, above["opentelemetry"], 0.1),
        ratio("normal mode ÷ prometheus time()", normal, above["prometheus"], 0.7),
        ratio("normal mode ÷ floor with clocks, encode and store", normal, above["floor store"]),
    ]
    targets = {"normal": _TARGET_US, "optimization": 5.0, "off": 0.1, "limit 0": 0.3}
    for name, figures in above.items():
        if name != "bare":
            micros = [figure / 1000 for figure in figures]
            rows.append(row_of(_TITLES[name], micros, "µs", target=targets.get(name)))
    return rows


_TITLES = {
    "normal": "track, normal mode",
    "two arguments": "track, two arguments",
    "keywords": "track, keyword arguments",
    "dict": "track, a dict argument",
    "optimization": "track, optimization mode",
    "off": "track, tracking off",
    "limit 0": "track, limit 0",
    "block": "call block",
    "pair": "track_tool_call pair",
    "async": "track, coroutine",
    "floor clocks": "floor: wrapper and two clocks",
    "floor store": "floor: clocks, encode and one store",
    "opentelemetry": "OpenTelemetry span, batch processor",
    "prometheus": "prometheus multiprocess time()",
}


def main(rounds: int) -> None:
    """Measure in this process, and print the series as one line of JSON."""
    Path("config").mkdir()
    Path("config/tool_perf_limits.yaml").write_text("tool_limits: {untracked: 0}\n")
    print(json.dumps(in_turn(_subjects(), rounds, _COUNT)))


def _tool() -> None:
    """A tool that does nothing: what is left is the cost of recording it."""


def _tool_with_two(one: int, two: str) -> None:
    """The same with parameters."""


async def _async_tool() -> None:
    """The same as a coroutine."""


def _subjects() -> dict[str, Callable[[int], float]]:
    tracked = shmperf.track(name="tool")(_tool)
    with_two = shmperf.track(name="with_two")(_tool_with_two)
    untracked = shmperf.track(name="untracked")(_tool)
    return {
        "bare": _timed(_tool),
        "normal": _drained(_timed(tracked)),
        "two arguments": _drained(_timed(lambda: with_two(3, "abc"), _tool_with_two, 3, "abc")),
        "keywords": _drained(_timed(lambda: with_two(one=3, two="abc"))),
        "dict": _drained(_timed(lambda: with_two(3, {"param1": "value1"}))),  # type: ignore[arg-type]
        "optimization": _in_detail(_timed(tracked)),
        "off": _switched_off(_timed(tracked)),
        "limit 0": _timed(untracked),
        "block": _drained(_blocks),
        "pair": _drained(_pairs),
        "async": _drained(_coroutines),
        "floor clocks": _timed(_floor_clocks()),
        "floor store": _timed(_floor_store()),
        "opentelemetry": _opentelemetry(),
        "prometheus": _prometheus(),
    }


def _timed(function: Callable[[], Any], *_: Any) -> Callable[[int], float]:
    def run(count: int) -> float:
        start = perf_counter_ns()
        for _ in range(count):
            function()
        return (perf_counter_ns() - start) / count

    return run


def _drained(subject: Callable[[int], float]) -> Callable[[int], float]:
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


def _in_detail(subject: Callable[[int], float]) -> Callable[[int], float]:
    def run(count: int) -> float:
        with _optimization():
            return _drained(subject)(count)

    return run


def _switched_off(subject: Callable[[int], float]) -> Callable[[int], float]:
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


# --- floors --------------------------------------------------------------------------------------


def _floor_clocks() -> Callable[[], Any]:
    """The least that a wrapper in pure Python with two clock reads can do."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        perf_counter_ns()
        result = _tool(*args, **kwargs)
        perf_counter_ns()
        return result

    return wrapper


def _floor_store() -> Callable[[], Any]:
    """The same with the context, one encode and one store of a slot, and no protocol at all."""
    slot = Struct("@248sQ")
    memory = memoryview(bytearray(256))
    encode = msgspec.msgpack.Encoder().encode
    current: ContextVar[int] = ContextVar("current", default=0)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        parent = current.get()
        start = perf_counter_ns()
        result = _tool(*args, **kwargs)
        end = perf_counter_ns()
        slot.pack_into(memory, 0, encode((1, parent, start, end, args)), 1)
        return result

    return wrapper


# --- peers ---------------------------------------------------------------------------------------


def _opentelemetry() -> Callable[[int], float]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002  the interface's name
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    tracer = provider.get_tracer("bench")

    def traced() -> None:
        with tracer.start_as_current_span("tool"):
            _tool()

    return _timed(traced)


def _prometheus() -> Callable[[int], float]:
    from prometheus_client import Histogram

    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        raise RuntimeError("prometheus_client needs PROMETHEUS_MULTIPROC_DIR before its import")
    histogram = Histogram("tool_seconds", "a tool", ["tool"]).labels("tool")

    def timed() -> None:
        with histogram.time():
            _tool()

    return _timed(timed)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
