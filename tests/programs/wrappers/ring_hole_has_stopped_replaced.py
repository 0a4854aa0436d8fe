import time

import shmperf
from shmperf.worker.process import tool_named


@shmperf.track
def tool():
    end = time.perf_counter() + 50e-6
    while time.perf_counter() < end:
        pass


tool()
shmperf.get_perf_stats()
next(tool_named("tool").bound[5])
for _ in range(3000):
    tool()
assert not shmperf.get_tracker().lost, shmperf.get_tracker().lost
