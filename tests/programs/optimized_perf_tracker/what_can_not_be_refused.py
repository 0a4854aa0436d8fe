import copy

from calls import refused

from shmperf.optimized_perf_tracker import OptimizedPerfTracker

tracker = OptimizedPerfTracker()
before = copy.deepcopy(tracker.config)
told = refused(lambda: tracker.config.__setitem__("default_perf_points", "many"))
assert "default_perf_points: found 'many', expected" in told.replace('"', "'").lower(), told
told = refused(lambda: tracker.config["tool_limits"].update(tool=-2))
assert "-2" in told, told
told = refused(lambda: tracker.config["storage"].__setitem__("pth", "x"))
assert "pth" in told, told
told = refused(lambda: tracker.config["storage"].__setitem__("path", "elsewhere"))
assert "storage.path: found 'elsewhere'" in told, told
told = refused(lambda: tracker.config["anomaly"].__setitem__("webhook", "host/hidden"))
assert "expected webhook: an http" in told, told
assert "hidden" not in told, told
assert tracker.config == before
