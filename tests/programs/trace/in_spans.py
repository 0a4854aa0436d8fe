"""Calls in spans of OpenTelemetry, which is imported when some were made already."""

import asyncio
import json

import shmperf

SPANS = {}


@shmperf.track
def leaf(name):
    return name


@shmperf.track
def top(name):
    return leaf(name)


@shmperf.track
async def task(name):
    await asyncio.sleep(0)
    return leaf(name)


for _ in range(3):
    top("before")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

# The next that goes the long way sees that it is there.
with shmperf.call("block"):
    pass
top("outside")
tracer = TracerProvider().get_tracer("somebody.elses")
with tracer.start_as_current_span("first") as span:
    SPANS["first"] = span.get_span_context()
    for _ in range(3):
        top("first")
    with shmperf.call("block"):
        leaf("first")
        with tracer.start_as_current_span("beneath a call"):
            leaf("first")
    asyncio.run(task("first"))
    with shmperf.adopt("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
        top("adopted")
    print(shmperf.traceparent())
    with tracer.start_as_current_span("second") as inner:
        SPANS["second"] = inner.get_span_context()
        top("second")
with TracerProvider(sampler=ALWAYS_OFF).get_tracer("other").start_as_current_span("unrecorded"):
    top("unrecorded")
with trace.use_span(trace.NonRecordingSpan(SPANS["first"])):
    top("not recording")
top("after")
print(json.dumps({name: f"{one.trace_id:032x}-{one.span_id:016x}" for name, one in SPANS.items()}))
