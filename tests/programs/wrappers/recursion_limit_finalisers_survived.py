import gc
import os

import shmperf


@shmperf.track
def deep(n):
    return deep(n + 1)


# No callback of a collection has room where there is none for a frame: the interpreter says so.
gc.disable()
try:
    deep(0)
except RecursionError:
    pass
gc.enable()
assert shmperf.current() is None


@shmperf.track
def dying():
    pass


class Dying:
    def __init__(self):
        self.me = self

    def __del__(self):
        dying()


for _ in range(300):
    Dying()
gc.collect()
# On a busy machine the collector has much to catch up with.
assert shmperf.flush(float(os.environ["TESTS_DEADLINE_S"]))
stats = shmperf.get_perf_stats()
lost = sum(stats["lost"].values())
assert stats["begun"] == stats["total_calls"] + lost, stats
assert stats["tool_stats"]["dying"]["count"] == 300
