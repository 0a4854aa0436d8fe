"""A program that knows alone where this package and what it needs lie. Prints its statistics."""

import json
import sys

sys.path[:0] = sys.argv[1:]
import shmperf


@shmperf.track
def tool(n):
    return n


tool(1)
assert shmperf.flush()
print(json.dumps([shmperf.__file__, shmperf.get_perf_stats()]))
