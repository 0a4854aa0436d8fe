import shmperf


@shmperf.track
def tool():
    return 7


assert tool() == 7
stats = shmperf.get_perf_stats()
print(stats["mode"], stats["begun"], shmperf.track_tool_call("a", {}) == "")
