import sys

names = {name.removeprefix("shmperf.") for name in sys.modules}
assert not names & {"interceptors", "optimized_perf_tracker", "bug", "anomaly", "totals"}, names
import threading

assert threading.active_count() == 1
assert not {"yaml", "psutil", "rich", "asyncio"} & set(sys.modules)
