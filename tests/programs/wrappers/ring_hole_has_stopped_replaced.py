import shmperf
from shmperf.worker.process import tool_named


@shmperf.track
def tool():
    pass


tool()
shmperf.get_perf_stats()
next(tool_named("tool").bound[5])
# More than the ring holds, and less than it and one as large: nothing waits for the collector.
for _ in range(1500):
    tool()
assert not shmperf.get_tracker().lost, shmperf.get_tracker().lost
