"""
Exports: calls a second by format, spans as OTLP beside OpenTelemetry's own encoder, scrapes, and
what the processes take that send and serve while a program calls.

Formats read a made history, as ``shmperf export`` does, and reading is part of their figures.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from shmperf.exporters.otlp import request
from shmperf.exporters.table import EXPORTERS, exporter_of
from shmperf.storage.kept import KeptCall, kept_call
from shmperf.storage.origin import origin_of
from shmperf.storage.reading import read

from .history import Storage
from .measure import Row, in_turn, pinned, ratio, row_of
from .scrape import scrapes
from .sidecars import sidecars

__all__ = ["exports"]

_BATCH = 512
_SPANS_TARGET = 50_000.0


def exports(*, quick: bool) -> list[Row]:
    """The rows."""
    with tempfile.TemporaryDirectory(prefix="shmperf-bench-") as place:
        storage = Path(place)
        Storage(storage).write(10_000 if quick else 200_000)
        rows = [*_formats(storage, 1 if quick else 5), *_spans(storage, 5 if quick else 21)]
    return [*rows, *scrapes(quick=quick), *sidecars(quick=quick)]


# --- formats --------------------------------------------------------------------------------------


def _formats(storage: Path, rounds: int) -> Iterator[Row]:
    """Calls a second of CPU time, and bytes a call."""
    outputs = {row.name: (row.name, "") for row in EXPORTERS}
    outputs |= {
        f"{row.name}, .{row.ending}": (row.name, f"calls.{row.ending}")
        for row in EXPORTERS
        if row.ending
    }
    rates: dict[str, list[float]] = {name: [] for name in outputs}
    sizes: dict[str, float] = {}
    for _ in range(rounds):
        for name, (kind, output) in outputs.items():
            make = exporter_of(kind, output, storage)
            calls, size, took_s = _exported(make, storage)
            rates[name].append(calls / took_s)
            sizes[name] = size / calls
    for name, figures in rates.items():
        yield row_of(f"export {name}", figures, "calls/s")
        yield Row(name=f"export {name}: size", value=sizes[name], unit="bytes a call")


def _exported(make: Callable[..., Iterator[bytes]], storage: Path) -> tuple[int, int, float]:
    """Calls, bytes, seconds of CPU."""
    count = 0

    def counted() -> Iterator[KeptCall]:
        nonlocal count
        for line in read(storage):
            count += 1
            yield kept_call(line)

    begun_s = time.process_time()
    size = sum(map(len, make(counted())))
    return count, size, time.process_time() - begun_s


# --- spans ----------------------------------------------------------------------------------------


def _spans(storage: Path, rounds: int) -> Iterator[Row]:
    """Spans a second on one core: a request of ours, and one of the library's exporter."""
    calls = [kept_call(line) for line in islice(read(storage), _BATCH)]
    origin = origin_of(storage)
    encode = importlib.import_module("opentelemetry.exporter.otlp.proto.common.trace_encoder")
    theirs = _sdk_spans(calls)
    subjects: dict[str, Callable[[], bytes]] = {
        "ours": lambda: request(calls, origin),
        "theirs": lambda: bytes(encode.encode_spans(theirs).SerializeToString()),
    }
    with pinned():
        series = in_turn({name: _timed(make) for name, make in subjects.items()}, rounds, 4)
    rates = {name: [_BATCH * 1e9 / ns for ns in found] for name, found in series.items()}
    yield row_of(
        "OTLP, encoding on one core", rates["ours"], "spans/s", target=_SPANS_TARGET, at_least=True
    )
    yield row_of("OTLP, opentelemetry-sdk's encoder", rates["theirs"], "spans/s")
    yield ratio("OTLP, spans/s ÷ opentelemetry-sdk's encoder", rates["ours"], rates["theirs"])


def _timed(make: Callable[[], bytes]) -> Callable[[int], float]:
    """A subject whose work is a whole request; nanoseconds of CPU."""

    def subject(count: int) -> float:
        begun_ns = time.process_time_ns()
        for _ in range(count):
            make()
        return (time.process_time_ns() - begun_ns) / count

    return subject


def _sdk_spans(calls: list[KeptCall]) -> list[Any]:
    """The same calls as the library's spans, with the same attributes."""
    trace = importlib.import_module("opentelemetry.trace")
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    resource = importlib.import_module("opentelemetry.sdk.resources").Resource.create({})
    util = importlib.import_module("opentelemetry.sdk.util.instrumentation")
    scope = util.InstrumentationScope("shmperf")

    def context(call_id: str) -> Any:
        return trace.SpanContext(int(call_id, 16) + (1 << 64), int(call_id, 16), is_remote=False)

    def span(call: KeptCall) -> Any:
        start_ns = round((call.start_s or 0.0) * 1e9)
        failed = call.status != "ok"
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.tool,
            "gen_ai.tool.call.id": call.id or "",
            "process.pid": call.pid or 0,
            "gen_ai.tool.call.arguments": call.params or "",
        }
        if failed:
            attributes |= {"shmperf.status": call.status, "error.type": call.err or call.status}
        return sdk.ReadableSpan(
            name=f"execute_tool {call.tool}",
            context=context(call.id or "1"),
            parent=context(call.parent) if call.parent else None,
            resource=resource,
            attributes=attributes,
            status=trace.Status(trace.StatusCode.ERROR if failed else trace.StatusCode.UNSET),
            start_time=start_ns,
            end_time=start_ns + round((call.duration_s or 0.0) * 1e9),
            instrumentation_scope=scope,
        )

    return [span(call) for call in calls]
