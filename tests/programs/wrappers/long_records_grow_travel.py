import shmperf


@shmperf.track
def tool(text):
    pass


for n in range(3000):
    tool("burst")
shmperf.set_optimization_mode(True)
for size in (10, 300, 5_000, 60_000, 3_000_000):
    tool("x" * size)
assert shmperf.get_perf_stats()["lost"] == {}
