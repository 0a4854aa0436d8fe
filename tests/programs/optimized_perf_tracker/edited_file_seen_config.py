import os
import time
from pathlib import Path

from calls import call

from shmperf.optimized_perf_tracker import get_tracker

tracker = get_tracker()
limits = tracker.config["tool_limits"]
assert limits == {"tool": 5}
Path("config/tool_perf_limits.yaml").write_text("tool_limits: {tool: 6}\n")
deadline = time.monotonic() + float(os.environ["TESTS_DEADLINE_S"])
while tracker.config["tool_limits"] == {"tool": 5}:
    assert time.monotonic() < deadline
    call("tool")
    time.sleep(0.01)
assert limits == {"tool": 6} and tracker.config["tool_limits"] is limits
