import shmperf
from shmperf.worker import api

api._STATS_WAIT_S = 0.05


@shmperf.track
def tool():
    pass


tool()
assert shmperf.get_perf_stats("tool")["complete"] is False
assert shmperf.get_perf_stats()["complete"] is False
assert shmperf.flush(0.05) is False
