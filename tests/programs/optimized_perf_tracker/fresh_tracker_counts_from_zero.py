import json
import sys

from calls import call

import shmperf
from shmperf.optimized_perf_tracker import OptimizedPerfTracker, end_tool_call, track_tool_call

call("tool", 5)
tracker = OptimizedPerfTracker()
assert tracker.get_all_stats()["total_calls"] == 0
assert tracker.get_tool_stats("tool")["count"] == 0
opened = track_tool_call("open", {})
call("tool", 2)
call("other", 150)
found = tracker.get_all_stats()
counts = {name: row["count"] for name, row in found["tool_stats"].items()}
assert counts == {"tool": 2, "other": 150, "open": 0}, counts
assert found["tool_stats"]["open"]["in_flight"] == 1
assert found["tool_stats"]["tool"]["current_size"] == 2
assert found["tool_stats"]["other"]["current_size"] == 100
assert found["tool_stats"]["tool"]["errors"] == 0
assert (found["begun"], found["in_flight"], found["total_calls"]) == (153, 1, 152), found

# Calls that were open then belong to the next one.
tracker.shutdown()
assert OptimizedPerfTracker._instance is None
second = OptimizedPerfTracker()
assert second is not tracker
end_tool_call(opened, "late")
found = second.get_all_stats()
assert (found["begun"], found["in_flight"], found["total_calls"]) == (1, 0, 1), found
row = found["tool_stats"]["open"]
assert row["errors"] == 1 and row["min_duration_s"] == row["max_duration_s"] > 0
print(json.dumps(found))
assert shmperf.get_perf_stats("tool")["count"] == 7 + int(sys.argv[1])
