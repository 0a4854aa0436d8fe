import os
import signal

import shmperf


@shmperf.track
def tool(n):
    return n


@shmperf.track
def inside():
    pass


class Alarm(Exception):
    pass


def handler(*_):
    inside()
    raise Alarm


tool(0)
inside()
signal.signal(signal.SIGALRM, handler)
calls = 0
for turn in range(3000):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4 + turn % 97 * 1e-6)
        while True:
            assert tool(calls) == calls
            calls += 1
    except Alarm:
        assert shmperf.current() is None, turn
# On a busy machine the collector has much to catch up with.
assert shmperf.flush(float(os.environ["TESTS_DEADLINE_S"]))
stats = shmperf.get_perf_stats()
lost = sum(stats["lost"].values())
assert stats["begun"] == stats["total_calls"] + lost and not stats["in_flight"], stats
assert stats["total_calls"] + lost >= calls
assert not stats["aborted"]
print("fine")
