import time

from calls import call

from shmperf.optimized_perf_tracker import (
    OptimizedPerfTracker,
    TrackingMode,
    cleanup_perf_data,
    get_perf_stats,
    get_tracker,
    set_optimization_mode,
)

assert TrackingMode.NORMAL.value == "normal" and TrackingMode.OPTIMIZATION.value == "optimization"
assert OptimizedPerfTracker() is OptimizedPerfTracker() is get_tracker()


def fresh():
    OptimizedPerfTracker._instance = None
    return OptimizedPerfTracker()


tracker = fresh()
tracker.set_optimization_mode(False)
begun_s = time.perf_counter()
record_id = tracker.start_tracking("test_tool", {"param": "value"})
assert len(record_id) == 16
time.sleep(0.01)
tracker.end_tracking(record_id)
most_s = time.perf_counter() - begun_s
stats = tracker.get_tool_stats("test_tool")
assert stats["count"] == 1 and 0.01 < stats["avg_duration_s"] < most_s
assert stats["min_duration_s"] == stats["max_duration_s"] == stats["avg_duration_s"]
tracker.shutdown()

tracker = fresh()
tracker.set_optimization_mode(True)
assert tracker.is_optimization_mode() and tracker.mode == TrackingMode.OPTIMIZATION
parent = tracker.start_tracking("parent_tool", {})
child = tracker.start_tracking(tool_name="child_tool", params={})
tracker.end_tracking(child)
tracker.end_tracking(record_id=parent, error="it failed")
assert tracker.get_tool_stats("parent_tool")["errors"] == 1
assert tracker.get_tool_stats("child_tool")["count"] == 1
assert tracker.get_tool_stats("test_tool") == {
    **tracker.get_tool_stats("nobody"),
    "tool": "test_tool",
}
found = tracker.get_all_stats()
assert (found["total_calls"], found["tools_tracked"], found["mode"]) == (2, 2, "optimization")
assert set(found["tool_stats"]) == {"parent_tool", "child_tool"}
set_optimization_mode(False)
assert not tracker.is_optimization_mode()
tracker.end_tracking("")
tracker.end_tracking("no such id")
tracker.shutdown()

tracker = fresh()
tracker.config["tool_limits"] = {"test_tool": 2}
tracker.config["default_perf_points"] = 2
for i in range(3):
    tracker.end_tracking(tracker.start_tracking("test_tool", {"iteration": i}))
stats = tracker.get_tool_stats("test_tool")
assert (stats["count"], stats["current_size"], stats["max_size"]) == (3, 2, 2), stats
tracker.cleanup_old_data()
assert tracker.get_tool_stats("test_tool")["count"] == 0
call("test_tool")
assert get_perf_stats("test_tool")["count"] == 1
assert get_perf_stats(tool_name="test_tool")["tool"] == "test_tool"
assert get_perf_stats()["total_calls"] == 1
cleanup_perf_data()
assert get_perf_stats()["total_calls"] == 0
assert "default_perf_points" in tracker.config
