"""
Calls tools at a steady rate, and prints what that cost in all: its own CPU and the collector's.

Arguments: system, calls a second, tools, seconds, and 1 or 0: whether what all programs of a
session share is told, too. The system is ``nothing`` (the same loop around bare tools),
``shmperf``, or a peer with all that it does in the background: OpenTelemetry's spans are batched
and encoded as OTLP, Prometheus' figures are collected every fifteen seconds. Nanoseconds, as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import shmperf
from bench.measure import collector_pid, thread_cpu_ns

_TICK_S = 0.001
# What is done once is over by then: the first calls of a tool are all among its slowest, and the
# collector loads psutil a second after its start. Seconds at least and at most, calls of a tool.
_WARM_S = (1.5, 6.0)
_WARM_CALLS = 20
_SCRAPE_S = 15.0

Tool = Callable[[], Any]


class _System(NamedTuple):
    """Tools as a system records them, and what it does in the background beyond its threads."""

    tools: list[Tool]
    collector: int = 0
    scrape: Callable[[], object] | None = None


def _bare() -> None:
    pass


def _names(count: int) -> list[str]:
    return [f"tool_{number}" for number in range(count)]


def _nothing(count: int) -> _System:
    return _System([_bare] * count)


def _shmperf(count: int) -> _System:
    tools = [shmperf.track(name)(_copy()) for name in _names(count)]
    tools[0]()
    return _System(tools, collector_pid())


def _copy() -> Tool:
    def tool() -> None:
        pass

    return tool


def _opentelemetry(count: int) -> _System:
    trace = importlib.import_module("opentelemetry.sdk.trace")
    export = importlib.import_module("opentelemetry.sdk.trace.export")
    encoder = importlib.import_module("opentelemetry.exporter.otlp.proto.common.trace_encoder")

    class Encoded(export.SpanExporter):  # type: ignore[misc]  its module is loaded by name
        def export(self, spans: Any) -> Any:
            encoder.encode_spans(spans).SerializeToString()
            return export.SpanExportResult.SUCCESS

    provider = trace.TracerProvider()
    provider.add_span_processor(export.BatchSpanProcessor(Encoded()))
    tracer = provider.get_tracer("bench")

    def traced(name: str) -> Tool:
        def tool() -> None:
            with tracer.start_as_current_span(name):
                pass

        return tool

    return _System([traced(name) for name in _names(count)])


def _prometheus(count: int) -> _System:
    client = importlib.import_module("prometheus_client")
    multiprocess = importlib.import_module("prometheus_client.multiprocess")
    histogram = client.Histogram("tool_seconds", "tools", ["tool"])

    def observed(name: str) -> Tool:
        labelled = histogram.labels(name)

        def tool() -> None:
            with labelled.time():
                pass

        return tool

    def scrape() -> bytes:
        registry = client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return bytes(client.generate_latest(registry))

    return _System([observed(name) for name in _names(count)], scrape=scrape)


_SYSTEMS = {
    "nothing": _nothing,
    "shmperf": _shmperf,
    "opentelemetry": _opentelemetry,
    "prometheus": _prometheus,
}


def _call(tools: list[Tool], rate: float, seconds: float) -> int:
    """So many calls a second, tool after tool; how many there were."""
    a_tick = max(1, round(rate * _TICK_S))
    pause_s = a_tick / rate
    made = 0
    due_s = time.perf_counter()
    end_s = due_s + seconds
    while due_s < end_s:
        for _ in range(a_tick):
            tools[made % len(tools)]()
            made += 1
        due_s += pause_s
        left_s = due_s - time.perf_counter()
        if left_s > 0:
            time.sleep(left_s)
    return made


def _has_loaded(pid: int, name: str) -> bool:
    """True when the process has a library of that *name* in its memory."""
    return name in Path(f"/proc/{pid}/maps").read_text()


def main() -> None:
    """Warm up, call, and print the figures."""
    name, rate, count, seconds, tells_shared = sys.argv[1], *map(float, sys.argv[2:6])
    system = _SYSTEMS[name](int(count))
    for tool in system.tools:
        tool()
    least_s, most_s = _WARM_S
    _call(system.tools, rate, min(most_s, max(least_s, _WARM_CALLS * count / rate)))
    while system.collector and not _has_loaded(system.collector, "psutil"):
        _call(system.tools, rate, least_s)
    shared_ns = thread_cpu_ns(system.collector) if system.collector else 0
    own_ns, begun_s = time.process_time_ns(), time.perf_counter()
    calls = _call(system.tools, rate, seconds)
    took_s = time.perf_counter() - begun_s
    own_ns = time.process_time_ns() - own_ns
    if system.collector:
        shared_ns = thread_cpu_ns(system.collector) - shared_ns
    if system.scrape is not None:
        before_ns = time.process_time_ns()
        system.scrape()
        shared_ns = round((time.process_time_ns() - before_ns) * took_s / _SCRAPE_S)
    if not tells_shared:
        shared_ns = 0
    print(json.dumps({"calls": calls, "own_ns": own_ns, "shared_ns": shared_ns, "s": took_s}))


if __name__ == "__main__":
    main()
