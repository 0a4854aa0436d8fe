import shmperf

known = shmperf.track_tool_call("tool", {})
for wrong in ("", "nonsense", "0" * 16, "f" * 16, None, 7, known, known, known):
    shmperf.end_tool_call(wrong)
assert sum(shmperf.get_tracker().faults.values()) == 8, shmperf.get_tracker().faults
stats = shmperf.get_perf_stats()
assert stats["begun"] == stats["total_calls"] == 1
