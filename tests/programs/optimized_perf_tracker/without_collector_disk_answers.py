from calls import call

from shmperf import optimized_perf_tracker as module
from shmperf.optimized_perf_tracker import OptimizedPerfTracker

module._STATS_WAIT_S = 0.1
tracker = OptimizedPerfTracker()
call("tool", 3)
assert tracker.get_all_stats()["complete"] is False
tracker.config["tool_limits"]["tool"] = 1
assert tracker.config["tool_limits"] == {"tool": 1}
