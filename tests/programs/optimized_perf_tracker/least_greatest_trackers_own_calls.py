import time

import shmperf
from shmperf.optimized_perf_tracker import OptimizedPerfTracker, end_tool_call, track_tool_call


def tool(seconds):
    started = track_tool_call("tool", {})
    time.sleep(seconds)
    end_tool_call(started)


tool(0), tool(0.2)
tracker = OptimizedPerfTracker()
tool(0.02), tool(0.04)
row = tracker.get_tool_stats("tool")
assert row["count"] == 2
assert 0.019 < row["min_duration_s"] <= row["p50_s"] <= row["avg_duration_s"], row
assert row["avg_duration_s"] <= row["p99_s"] <= row["max_duration_s"] < 0.2, row
tool(0.3)
assert (
    tracker.get_tool_stats("tool")["max_duration_s"]
    == (shmperf.get_perf_stats("tool")["max_duration_s"])
)
