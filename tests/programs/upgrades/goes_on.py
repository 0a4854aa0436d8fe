"""Calls a tool a hundred times, whether or not it is recorded; prints what came of both."""

import shmperf


@shmperf.track
def tool(n):
    return n


total = sum(tool(n) for n in range(100))
print(total, shmperf.get_perf_stats()["mode"])
