import sys

import shmperf
from shmperf.optimized_perf_tracker import end_tool_call, get_tracker, track_tool_call


def call(tool, count=1, **params):
    for n in range(count):
        end_tool_call(track_tool_call(tool, {"n": n, **params}))


def refused(assign):
    try:
        assign()
    except shmperf.errors.ConfigError as error:
        return str(error)
    raise AssertionError("it was taken")


get_tracker()
sys.stdin.readline()
