"""Asks for one tool's statistics, of which one call has ended."""

import json

import shmperf


@shmperf.track
def tool():
    pass


tool()
print(json.dumps(shmperf.get_perf_stats("tool")))
