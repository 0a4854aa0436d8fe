import json
import os
import signal

import shmperf

made = 0


def count(n):
    global made
    made += 1
    return n


inner, outer = shmperf.track("inner")(count), shmperf.track("outer")(lambda n: inner(n))
signal.signal(signal.SIGALRM, lambda *_: outer(1))
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
for n in range(30_000):
    assert outer(n) == n
    with shmperf.call(f"tool {n % 40}"):
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
made = made * 2 + 30_000

# On a busy machine the collector has much to catch up with.
assert shmperf.flush(float(os.environ["TESTS_DEADLINE_S"]))
print(json.dumps([made, shmperf.get_perf_stats()]))
