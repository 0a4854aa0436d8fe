import os
import signal
import sys

import shmperf
from shmperf.interceptors import intercept_tool_call


class Alarm(Exception):
    pass


kind = Alarm if sys.argv[1] == "Alarm" else KeyboardInterrupt


def handler(*_):
    raise kind


def tool(n):
    return n


def outer(n):
    return intercept_tool_call("inner", tool, (n,))


intercept_tool_call("outer", outer, (1,))
signal.signal(signal.SIGALRM, handler)
calls = 1
for turn in range(1500):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4 + turn % 97 * 1e-6)
        while True:
            assert intercept_tool_call("outer", outer, (calls,)) == calls
            calls += 1
    except kind:
        assert shmperf.current() is None, turn
# On a busy machine the collector has much to catch up with.
assert shmperf.flush(float(os.environ["TESTS_DEADLINE_S"]))
stats = shmperf.get_perf_stats()
lost = sum(stats["lost"].values())
assert stats["begun"] == stats["total_calls"] + lost and not stats["in_flight"], stats
assert stats["total_calls"] + lost >= 2 * calls
