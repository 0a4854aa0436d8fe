import json

from shmperf.optimized_perf_tracker import get_tracker

print(json.dumps(get_tracker().config["tool_limits"]))
