import shmperf


@shmperf.track
def tool(n):
    pass


for n in range(500):
    tool(n)
shmperf.flush()
opened = shmperf.track_tool_call("open", {"a": 1})
shmperf.cleanup_perf_data()
stats = shmperf.get_perf_stats()
assert stats["total_calls"] == 0 and stats["begun"] == stats["in_flight"] == 1, stats
shmperf.end_tool_call(opened)
tool(1)
