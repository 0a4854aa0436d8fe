import threading
import time

import shmperf
from shmperf.interceptors import intercept_tool_call

context = {"workflow": 7}


def leaf(n):
    time.sleep(0.002)
    return n


def outer(n):
    return intercept_tool_call("leaf", leaf, (n,), context=context)


def many():
    [intercept_tool_call("outer", outer, (n,), context=context) for n in range(20)]


threads = [threading.Thread(target=many) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert context == {"workflow": 7}, context
assert shmperf.get_perf_stats()["in_flight"] == 0
