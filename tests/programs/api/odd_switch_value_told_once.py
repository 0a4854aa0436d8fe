import shmperf


@shmperf.track
def tool():
    pass


tool()
tool()
assert shmperf.get_perf_stats()["begun"] == 2
