import threading

from calls import call

import shmperf
from shmperf.optimized_perf_tracker import get_tracker

found = []


def work():
    found.append(get_tracker())
    call("tool", 200)


threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(set(map(id, found))) == 1
assert shmperf.get_perf_stats("tool")["count"] == 1600
