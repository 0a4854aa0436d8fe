from calls import call

from shmperf.optimized_perf_tracker import OptimizedPerfTracker, TrackingMode, get_perf_stats

tracker = OptimizedPerfTracker()
assert not tracker.enabled
call("tool", 3)
assert tracker.get_tool_stats("tool")["count"] == 0
assert get_perf_stats()["mode"] == "off"
tracker.config["tool_limits"]["tool"] = 3
assert tracker.config["tool_limits"] == {"tool": 3}
tracker.set_optimization_mode(True)
assert tracker.mode is TrackingMode.NORMAL
tracker.cleanup_old_data()
tracker.shutdown()
tracker = OptimizedPerfTracker()
tracker.enabled = True
call("tool", 3)
assert tracker.get_tool_stats("tool")["count"] == 3
tracker.enabled = False
call("tool", 3)
tracker.enabled = True
assert tracker.get_tool_stats("tool")["count"] == 3
