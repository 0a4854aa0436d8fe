"""Calls nothing for so many seconds, and prints what share of a core the collector took, in %."""

import sys
import time

import shmperf
from bench.measure import collector_pid, thread_cpu_ns


@shmperf.track
def tool() -> None:
    """The only call there is."""


tool()
pid = collector_pid()
time.sleep(2)
before_ns, began_s = thread_cpu_ns(pid), time.perf_counter()
time.sleep(float(sys.argv[1]))
print((thread_cpu_ns(pid) - before_ns) / (time.perf_counter() - began_s) / 1e7)
