import gc
import json
import os

import shmperf

made = 0


@shmperf.track
def tool(n):
    global made
    made += 1
    return n


class Cycle:
    def __init__(self):
        self.itself = self

    def __del__(self):
        tool(0)


outer = shmperf.track("outer")(lambda n: tool(n))
tool(0)
gc.callbacks.append(lambda *_: tool(0))
for n in range(6_000):
    # Every so many allocations, so that sooner or later it is any of ours.
    gc.set_threshold(3 + n % 19, 2, 2)
    assert outer(n) == n
    made += 1
    with shmperf.call(f"tool {n % 40}", size=n):
        made += 1
    Cycle()
gc.disable()

# On a busy machine the collector has much to catch up with.
assert shmperf.flush(float(os.environ["TESTS_DEADLINE_S"]))
print(json.dumps([made, shmperf.get_perf_stats()]))
