"""Calls begun, ended and made while ``os.getpid`` says something else. Prints the statistics."""

import json
from unittest import mock

import shmperf


@shmperf.track
def tool(n):
    return n


@shmperf.track
def outer():
    with mock.patch("os.getpid", return_value=4242):
        for n in range(100):
            tool(n)


outer()
before = shmperf.track_tool_call("pair")
with mock.patch("os.getpid", return_value=4242):
    shmperf.end_tool_call(before)
    within = shmperf.track_tool_call("pair")
    shmperf.get_perf_stats()
shmperf.end_tool_call(within)
assert shmperf.flush()
print(json.dumps(shmperf.get_perf_stats()))
