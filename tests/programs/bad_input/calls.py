import shmperf


@shmperf.track
def tool(n):
    return n * 2


assert [tool(n) for n in range(500)] == [n * 2 for n in range(500)]
stats = shmperf.get_perf_stats()
lost = sum(stats["lost"].values())
assert stats["begun"] == stats["total_calls"] + lost + stats["aborted"] + stats["in_flight"]
print(stats["mode"], stats["begun"], lost)
