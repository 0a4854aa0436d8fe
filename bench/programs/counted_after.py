"""
How many ms after a call's end statistics count it, as JSON, beside so many busy workers.

Arguments: how many calls, how many workers that do nothing but call.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import shmperf

rounds, workers = map(int, sys.argv[1:])
flat_out = [sys.executable, str(Path(__file__).with_name("flat_out.py"))]


@shmperf.track
def tool():
    pass


load = [subprocess.Popen(flat_out, stdin=subprocess.PIPE) for _ in range(workers)]
try:
    tool()
    first = shmperf.get_perf_stats("tool")["count"]
    found = []
    for n in range(rounds):
        tool()
        start = time.perf_counter()
        count = shmperf.get_perf_stats("tool")["count"]
        found.append((time.perf_counter() - start) * 1000)
        assert count == first + n + 1, (count, n)
        # Other than the collector's own pause, so that calls end at any moment of its cycle.
        time.sleep(0.013)
    print(json.dumps(found))
finally:
    for program in load:
        program.kill()
        program.communicate()
