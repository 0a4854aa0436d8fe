import json
import sys

from calls import call

from shmperf.optimized_perf_tracker import get_perf_stats, get_tracker

call("tool", 30)
for line in sys.stdin:
    call("tool", 30, pin=1234)
    print(json.dumps([get_tracker().config["tool_limits"], get_perf_stats()["mode"]]), flush=True)
