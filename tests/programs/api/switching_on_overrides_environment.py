import shmperf


@shmperf.track
def tool():
    pass


tool()
assert not shmperf.get_tracker().enabled
shmperf.get_tracker().enabled = True
tool()
assert shmperf.get_perf_stats()["begun"] == 1
