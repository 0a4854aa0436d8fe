"""Prints how many ms it takes until `shmperf.track` is there: a name comes when it is asked for."""

# What any program with msgspec and shared memory imports is not ours.
import multiprocessing.shared_memory  # noqa: F401  imported is all it is to be
import time

import msgspec  # noqa: F401  the same

start = time.perf_counter()

import shmperf

track = shmperf.track
print((time.perf_counter() - start) * 1000)
