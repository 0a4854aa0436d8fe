import shmperf


@shmperf.track
def tool(n):
    pass


for turn in iter(input, "end"):
    for n in range(10):
        tool(n)
    print(shmperf.flush(), shmperf.get_perf_stats()["total_calls"], flush=True)
