"""
Calls behind a fork in another directory, after a first call in the parent or before any.

Prints the statistics that the parent sees.
"""

import json
import os
import sys

import shmperf


@shmperf.track
def tool(n):
    return n


if sys.argv[1] == "called":
    tool(0)
for _ in range(2):
    child = os.fork()
    if not child:
        os.chdir("/")
        tool(1)
        os._exit(0 if shmperf.flush() else 1)
    assert os.waitpid(child, 0)[1] == 0
tool(2)
print(json.dumps(shmperf.get_perf_stats()))
