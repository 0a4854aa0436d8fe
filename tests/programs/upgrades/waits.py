"""Calls a tool, and once more when it is told to; prints how many calls were counted then."""

import sys

import shmperf


@shmperf.track
def tool(n):
    return n


for n in range(5):
    tool(n)
assert shmperf.flush()
print("ready", flush=True)
sys.stdin.readline()
for n in range(5):
    tool(n)
print(shmperf.get_perf_stats()["total_calls"])
