from shmperf.optimized_perf_tracker import get_tracker

tracker = get_tracker()
tracker.config["tool_limits"]["tool"] = 4
tracker.config["capture"]["secret_keys"] = ["pin"]
tracker.config["optimization"]["enabled"] = True
