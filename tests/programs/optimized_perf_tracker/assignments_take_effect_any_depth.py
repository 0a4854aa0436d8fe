import copy
import json

from calls import call

import shmperf
from shmperf.optimized_perf_tracker import OptimizedPerfTracker, TrackingMode, track_tool_call

tracker = OptimizedPerfTracker()
config = tracker.config
assert isinstance(config, dict) and isinstance(config["storage"], dict)
assert config["optimization"] == {
    "enabled": False,
    "trigger_threshold": 10000,
    "min_interval_seconds": 3600,
    "run_calls": 1000,
    "run_seconds": 60,
    "cleanup_on_optimize": True,
}
assert json.loads(json.dumps(config))["rag"]["enabled"] is True

limits = config["tool_limits"]
limits["none"] = 0
assert track_tool_call("none", {}) == ""
del limits["none"]
assert track_tool_call("none", {}) != ""
limits.update(none=0, few=1)
assert tracker.config["tool_limits"] is limits and limits == {"none": 0, "few": 1}
assert limits.setdefault("few", 9) == 1 and limits.pop("few") == 1 and limits.pop("few", 3) == 3
limits |= {"all": -1}
assert limits == {"none": 0, "all": -1}
call("all", 300)
assert tracker.get_tool_stats("all")["current_size"] == 300
limits.clear()
assert tracker.get_tool_stats("all")["current_size"] == 100
config["tool_limits"] = {"all": 7}
config["tool_limits"]["more"] = 8
assert limits == {"all": 7, "more": 8}
assert tracker.get_tool_stats("all")["max_size"] == 7

saved = copy.deepcopy(tracker.config)
assert type(saved) is dict and type(saved["tool_limits"]) is dict and saved == tracker.config
tracker.config["storage"]["batch_size"] = 5
tracker.config["capture"]["secret_keys"] = ["pin"]
assert tracker.config != saved
tracker.config = saved
assert tracker.config == saved

tracker.config["optimization"]["cleanup_on_optimize"] = False
call("kept")
tracker.cleanup_old_data()
assert tracker.get_tool_stats("kept")["count"] == 1
tracker.config["optimization"]["enabled"] = True
assert tracker.is_optimization_mode() and shmperf.get_tracker().mode == "optimization"
tracker.mode = TrackingMode.NORMAL
assert not tracker.is_optimization_mode()
tracker.mode = "optimization"
assert tracker.mode is TrackingMode.OPTIMIZATION
