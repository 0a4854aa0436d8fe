"""The same calls by every writer of the protocol; kind, length and body of each one's slot."""

import asyncio
import json

import shmperf
from shmperf.interceptors import intercept_tool_call
from shmperf.shm.record import SLOT, SLOT_BYTES
from shmperf.worker.opencall import OpenCall
from shmperf.worker.process import named_callee, tool_named, worker

CALLS = [((), {}), ((1, "two"), {}), ((), {"n": 1}), ((1,), {"n": 2.5}), (([1, {"a": None}],), {})]


def function(*args: object, **kwargs: object) -> None:
    """What is called."""


tracked = shmperf.track("hotpath")(function)


@shmperf.track("hotcoroutine")
async def tracked_coroutine(*args: object, **kwargs: object) -> None:
    """What is awaited."""


def by_hotcoroutine(args: tuple, kwargs: dict) -> None:
    loop.run_until_complete(tracked_coroutine(*args, **kwargs))


def by_hotpath(args: tuple, kwargs: dict) -> None:
    tracked(*args, **kwargs)


def by_opencall(args: tuple, kwargs: dict) -> None:
    tool = tool_named("opencall")
    opened = OpenCall(tool, named_callee(tool))
    opened.open(args, kwargs)
    opened.close()


def by_quickcall(args: tuple, kwargs: dict) -> None:
    intercept_tool_call("quickcall", function, args, kwargs)


loop = asyncio.new_event_loop()
found: dict[str, list[list[object]]] = {}
for name, call in [
    ("hotpath", by_hotpath),
    ("hotcoroutine", by_hotcoroutine),
    ("opencall", by_opencall),
    ("quickcall", by_quickcall),
]:
    # The first call of a tool goes the long way.
    call((), {})
    for args, kwargs in CALLS:
        call(args, kwargs)
    writer = tool_named(name).lane.writer
    buffer = worker.segment.buffer
    shift = writer.current[1]
    rows = []
    for n in range(len(CALLS) + 1):
        at = (writer.slots + n) * SLOT_BYTES + shift
        _, _, start, end, meta, body, position = SLOT.unpack_from(buffer, at - 0)
        assert 0 < start <= end
        rows.append([meta & 0xFFFF, body[: meta & 0xFF].hex()])
    found[name] = rows[1:]
loop.close()
print(json.dumps(found))
