import json
import sys

import shmperf

tool_keys, all_keys = json.loads(sys.argv[1])


@shmperf.track
def tool():
    pass


for _ in range(150):
    tool()
one, every = shmperf.get_perf_stats("tool"), shmperf.get_perf_stats()
assert list(one) == tool_keys, list(one)
assert list(every) == all_keys, list(every)
assert every["tool_stats"]["tool"] == one
assert (one["count"], one["current_size"], one["max_size"]) == (150, 100, 100)
assert one["min_duration_s"] <= one["p50_s"] <= one["p95_s"] <= one["max_duration_s"]
unknown = shmperf.get_perf_stats("nobody")
assert unknown["count"] == 0
assert unknown["avg_duration_s"] is None
