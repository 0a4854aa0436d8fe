import shmperf

for name, params in ((5, None), (None, 7), (["x"], {"a": 1}), (b"raw", object())):
    shmperf.end_tool_call(shmperf.track_tool_call(name, params))
assert shmperf.get_perf_stats()["total_calls"] == 4
