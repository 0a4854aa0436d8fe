import json
import sys

import shmperf
from shmperf.optimized_perf_tracker import (
    end_tool_call,
    get_perf_stats,
    get_tracker,
    track_tool_call,
)


def call(tool, count=1, **params):
    for n in range(count):
        end_tool_call(track_tool_call(tool, {"n": n, **params}))


def refused(assign):
    try:
        assign()
    except shmperf.errors.ConfigError as error:
        return str(error)
    raise AssertionError("it was taken")


call("tool", 30)
for line in sys.stdin:
    call("tool", 30, pin=1234)
    print(json.dumps([get_tracker().config["tool_limits"], get_perf_stats()["mode"]]), flush=True)
