"""
What people use today, doing the same: noting that a call of a tool began and ended.

Each peer is a function that makes a subject: given a count, it makes that many calls of a tool that
does nothing and returns nanoseconds a call. One whose package is missing is left out and told.
"""

from __future__ import annotations

import importlib.util
import logging
import logging.handlers
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

__all__ = ["PEERS", "Subject", "made", "timed", "tool"]

Subject = Callable[[int], float]


def tool() -> None:
    """A tool that does nothing: what is left is the cost of recording it."""


def timed(function: Callable[[], Any]) -> Subject:
    """*function* as a subject."""

    def run(count: int) -> float:
        start = perf_counter_ns()
        for _ in range(count):
            function()
        return (perf_counter_ns() - start) / count

    return run


def opentelemetry() -> Subject:
    """A span of the OpenTelemetry SDK, batch processor, an exporter that does nothing."""
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  a peer, only here
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
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
            tool()

    return timed(traced)


def prometheus() -> Subject:
    """``Histogram.time()`` of prometheus_client in multiprocess mode."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        raise RuntimeError("prometheus_client needs PROMETHEUS_MULTIPROC_DIR before its import")
    from prometheus_client import Histogram  # noqa: PLC0415  reads its environment when imported

    histogram = Histogram("tool_seconds", "a tool", ["tool"]).labels("tool")

    def observed() -> None:
        with histogram.time():
            tool()

    return timed(observed)


def viztracer() -> Subject:
    """``log_event`` of a VizTracer that traces nothing else."""
    from viztracer import VizTracer  # noqa: PLC0415  a peer, only here

    tracer = VizTracer(max_stack_depth=0, verbose=0, tracer_entries=100_000)

    def logged() -> None:
        with tracer.log_event("tool"):
            tool()

    def run(count: int) -> float:
        # Only here: while it is on, it slows down every call of the process.
        tracer.start()
        try:
            return timed(logged)(count)
        finally:
            tracer.stop()
            tracer.clear()

    return run


def logging_queue() -> Subject:
    """Two log records a call through a QueueHandler into a ``multiprocessing.Queue``."""
    queue: Any = multiprocessing.get_context("spawn").Queue()
    threading.Thread(target=_empty, args=(queue,), daemon=True).start()
    logger = logging.getLogger("bench.queue")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.handlers.QueueHandler(queue))

    def logged() -> None:
        logger.info("start %s", "tool")
        tool()
        logger.info("end %s", "tool")

    return timed(logged)


def _empty(queue: Any) -> None:
    while True:
        queue.get()


def structlog() -> Subject:
    """Two JSON lines a call, written to a file by structlog."""
    import structlog as package  # noqa: PLC0415  a peer, only here

    file = Path("structlog.jsonl").open("w", encoding="utf-8")  # noqa: SIM115  open to the end
    logger = package.wrap_logger(
        package.WriteLogger(file),
        processors=[
            package.processors.TimeStamper(fmt="iso"),
            package.processors.JSONRenderer(),
        ],
    )

    def logged() -> None:
        logger.info("start", tool="tool")
        tool()
        logger.info("end", tool="tool")

    return timed(logged)


_MAKERS = {
    "opentelemetry": ("opentelemetry.sdk", opentelemetry),
    "prometheus": ("prometheus_client", prometheus),
    "viztracer": ("viztracer", viztracer),
    "logging": ("logging", logging_queue),
    "structlog": ("structlog", structlog),
}

PEERS = {
    "opentelemetry": "OpenTelemetry span",
    "prometheus": "prometheus Histogram.time()",
    "viztracer": "viztracer log_event",
    "logging": "logging to a Queue, two records",
    "structlog": "structlog to a file, two lines",
}


def made() -> dict[str, Subject]:
    """Every peer whose package is installed."""
    found = {}
    for name, (package, maker) in _MAKERS.items():
        if importlib.util.find_spec(package.partition(".")[0]) is None:
            print(f"{PEERS[name]}: {package} is not installed, left out", file=sys.stderr)
        else:
            found[name] = maker()
    return found
