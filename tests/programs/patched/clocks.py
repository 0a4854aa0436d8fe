"""
Calls before, across and within stopped clocks, of the library and in the way that are named.

Prints the statistics.
"""

import contextlib
import datetime as dt
import json
import sys

library, way = sys.argv[1:]
THEN = dt.datetime(2012, 1, 14, tzinfo=dt.UTC)
if library == "freezegun":
    from freezegun import freeze_time as stopped
else:
    from time_machine import travel as stopped

# What is imported and decorated while the clocks stand must not keep them.
with stopped(THEN) if way == "imported within" else contextlib.nullcontext():
    import shmperf
    from shmperf.interceptors import intercept_tool_call

    @shmperf.track
    def plain(n):
        return n

    @shmperf.track
    async def awaited(n):
        return n

    @shmperf.track
    def steps(n):
        yield from range(n)


def everything(n):
    plain(n)
    with contextlib.suppress(StopIteration):
        awaited(n).send(None)
    list(steps(n))
    with shmperf.call("block"):
        pass
    intercept_tool_call("chain", lambda: n)


everything(1)
before, generator = shmperf.track_tool_call("pair"), steps(2)
next(generator)
with stopped(THEN):
    shmperf.end_tool_call(before)
    list(generator)
    everything(2)
    within = shmperf.track_tool_call("pair")
    shmperf.flush()
    shmperf.get_perf_stats()
everything(3)
shmperf.end_tool_call(within)
assert shmperf.flush()
print(json.dumps(shmperf.get_perf_stats()))
