import shmperf


@shmperf.track
def tool():
    pass


tool()
shmperf.cleanup_perf_data()
assert shmperf.get_perf_stats()["total_calls"] == 1
