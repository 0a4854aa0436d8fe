"""Argument: calls of a tool that keeps all; one in a hundred fails. Tells if zstd was imported."""

import sys

import shmperf


@shmperf.track
def search(n):
    if n % 100 == 7:
        raise KeyError(n)
    return n


for number in range(int(sys.argv[1])):
    try:
        search(number)
    except KeyError:
        pass
    if number % 1000 == 999:
        # What is open then goes to disk; a short ring is never full.
        shmperf.flush(1)
shmperf.get_perf_stats()
print(sorted(name for name in sys.modules if "zstd" in name))
