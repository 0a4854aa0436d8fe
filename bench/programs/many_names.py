"""
Calls as many tools as its argument says once each, asks for the statistics, and ends.

Prints how many µs a first call took, how many seconds the statistics; then lost calls.
"""

import sys
import time

import shmperf

tools = int(sys.argv[1])
with shmperf.call("job 0"):
    pass
start = time.perf_counter()
for number in range(1, tools):
    with shmperf.call(f"job {number}", n=number):
        pass
made = time.perf_counter()
shmperf.flush(60.0)
asked = time.perf_counter()
found = shmperf.get_perf_stats()
answered = time.perf_counter()
print((made - start) / tools * 1e6, asked - start, answered - asked, sum(found["lost"].values()))
