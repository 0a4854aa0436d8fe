"""
What people use today, doing the same: noting that a call of a tool happened and how long it took.

Each peer is given the tool and wraps it the way its own documentation does, at its fastest: one
record a call, writers and formatters made once, and whoever receives the records sits in another
process or thread. One whose package is missing is left out and told in one line.
"""

from __future__ import annotations

import importlib
import logging
import logging.handlers
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any, NamedTuple

import msgspec

__all__ = ["PEERS", "Peer", "Subject", "installed", "made", "timed", "tool"]

Subject = Callable[[int], float]
Tool = Callable[[], Any]


def _nothing() -> None:
    pass


class Peer(NamedTuple):
    """
    A recorded tool, and what is done before and after many calls of it.

    *after* waits until the peer's threads have nothing left to do, so that they take no time from
    whoever comes next.
    """

    call: Tool
    before: Callable[[], Any] = _nothing
    after: Callable[[], Any] = _nothing

    def subject(self) -> Subject:
        """Nanoseconds a call."""
        run = timed(self.call)

        def prepared(count: int) -> float:
            self.before()
            try:
                return run(count)
            finally:
                self.after()

        return prepared


def tool() -> None:
    """A tool that does nothing: what is left is the cost of recording it."""


def timed(function: Tool) -> Subject:
    """*function* as a subject."""

    def run(count: int) -> float:
        start = perf_counter_ns()
        for _ in range(count):
            function()
        return (perf_counter_ns() - start) / count

    return run


def opentelemetry(work: Tool) -> Peer:
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
            work()

    return Peer(traced, after=provider.force_flush)


def prometheus(work: Tool) -> Peer:
    """``Histogram.time()`` of prometheus_client in multiprocess mode."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        raise RuntimeError("prometheus_client needs PROMETHEUS_MULTIPROC_DIR before its import")
    from prometheus_client import Histogram  # noqa: PLC0415  reads its environment when imported

    histogram = Histogram("tool_seconds", "a tool", ["tool"]).labels("tool")

    def observed() -> None:
        with histogram.time():
            work()

    return Peer(observed)


def viztracer(work: Tool) -> Peer:
    """``log_event`` of a VizTracer that traces nothing else."""
    from viztracer import VizTracer  # noqa: PLC0415  a peer, only here

    tracer = VizTracer(max_stack_depth=0, verbose=0, tracer_entries=100_000)

    def logged() -> None:
        with tracer.log_event("tool"):
            work()

    def stop() -> None:
        tracer.stop()
        tracer.clear()

    # Only for its own calls: while it is on, it slows down every call of the process.
    return Peer(logged, tracer.start, stop)


def logging_queue(work: Tool) -> Peer:
    """One log record a call through a QueueHandler into a ``multiprocessing.Queue``."""
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    emptied = context.Event()
    context.Process(target=_empty, args=(queue, emptied), daemon=True).start()
    logger = logging.getLogger("bench.queue")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.handlers.QueueHandler(queue))

    def logged() -> None:
        start = perf_counter()
        work()
        logger.info("%s took %s", "tool", perf_counter() - start)

    def wait() -> None:
        queue.put(None)
        emptied.wait()
        emptied.clear()

    return Peer(logged, after=wait)


def _empty(queue: Any, emptied: Any) -> None:
    while True:
        if queue.get() is None:
            emptied.set()


def structlog(work: Tool) -> Peer:
    """One JSON line a call, written to a file by structlog as fast as its documentation has it."""
    import structlog as package  # noqa: PLC0415  a peer, only here

    file = Path(f"structlog-{os.getpid()}.jsonl").open("wb")  # noqa: SIM115  open to the end
    encode = msgspec.json.encode
    logger = package.wrap_logger(
        package.BytesLogger(file),
        wrapper_class=package.make_filtering_bound_logger(logging.INFO),
        processors=[
            package.processors.add_log_level,
            package.processors.TimeStamper(fmt="iso", utc=True),
            package.processors.JSONRenderer(serializer=lambda line, **_: encode(line)),
        ],
    ).bind()

    def logged() -> None:
        start = perf_counter()
        work()
        logger.info("called", tool="tool", seconds=perf_counter() - start)

    return Peer(logged)


# What is imported, what brings it, and what makes the peer.
_MAKERS: dict[str, tuple[str, str, Callable[[Tool], Peer]]] = {
    "opentelemetry": ("opentelemetry.sdk.trace.export", "opentelemetry-sdk", opentelemetry),
    "prometheus": ("prometheus_client", "prometheus-client", prometheus),
    "viztracer": ("viztracer", "viztracer", viztracer),
    "logging": ("logging.handlers", "Python", logging_queue),
    "structlog": ("structlog", "structlog", structlog),
}

PEERS = {
    "opentelemetry": "OpenTelemetry span",
    "prometheus": "prometheus Histogram.time()",
    "viztracer": "viztracer log_event",
    "logging": "logging to a multiprocessing.Queue",
    "structlog": "structlog to a file",
}


def installed(names: Iterable[str] = PEERS) -> list[str]:
    """Those of *names* whose package is installed, and now imported; of the others it is told."""
    found = []
    for name in names:
        module, package, _ = _MAKERS[name]
        try:
            importlib.import_module(module)
        except ImportError:
            print(f"{PEERS[name]}: {package} is not installed, left out", file=sys.stderr)
        else:
            found.append(name)
    return found


def made(name: str, work: Tool = tool) -> Peer:
    """The peer of that name around *work*; once a process."""
    _, _, maker = _MAKERS[name]
    return maker(work)
