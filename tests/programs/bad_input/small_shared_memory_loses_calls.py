import shmperf

for n in range(1000):
    tool = shmperf.track(name=f"tool{n}")(lambda x: x + 1)
    assert [tool(x) for x in range(5)] == [1, 2, 3, 4, 5]
stats = shmperf.get_perf_stats()
lost = sum(stats["lost"].values())
assert stats["begun"] == stats["total_calls"] + lost == 5000, stats
print(stats["total_calls"] > 500)
