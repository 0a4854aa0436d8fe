import json
import os
import signal
import subprocess
import sys
import time

import shmperf
from shmperf.optimized_perf_tracker import OptimizedPerfTracker, end_tool_call, track_tool_call


def tool(seconds):
    started = track_tool_call("tool", {})
    time.sleep(seconds)
    end_tool_call(started)


tool(0), tool(0.2)
begun_s = time.perf_counter()
tracker = OptimizedPerfTracker()
tool(0.02), tool(0.04)
# Longer than the one before them, on a machine that stops for a while: but no longer than this.
most_s = time.perf_counter() - begun_s
row = tracker.get_tool_stats("tool")
assert row["count"] == 2
# Two calls: the mean lies in their middle, to the nanosecond.
middle_s = (row["min_duration_s"] + row["max_duration_s"]) / 2
assert abs(row["avg_duration_s"] - middle_s) < 2e-9, row
assert tracker.get_all_stats()["tool_stats"]["tool"] == row
assert 0.019 < row["min_duration_s"] <= row["p50_s"] <= row["avg_duration_s"], row
assert row["avg_duration_s"] <= row["p99_s"] <= row["max_duration_s"] < most_s, row
if len(sys.argv) > 1:
    status = [sys.executable, "-m", "shmperf", "status", "--json"]
    shown = subprocess.run(status, check=True, capture_output=True).stdout
    os.kill(json.loads(shown)["collector"]["pid"], signal.SIGKILL)
    assert tracker.get_tool_stats("tool") == row
tool(0.3)
assert (
    tracker.get_tool_stats("tool")["max_duration_s"]
    == (shmperf.get_perf_stats("tool")["max_duration_s"])
)
