import sys

from shmperf.optimized_perf_tracker import get_tracker

for number in range(20):
    get_tracker().config["tool_limits"][f"tool-{sys.argv[1]}-{number}"] = number
