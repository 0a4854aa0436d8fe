"""Calls in detail whose parameters are more than there is memory for, when they are written out."""

import collections
import resource
from pathlib import Path

import shmperf

# Held once, and written out as often as it is referred to.
TEXT = "y" * 5_000_000
PARAMETERS = (
    [TEXT] * 64,
    {"texts": [(TEXT, TEXT)] * 32},
    [TEXT.encode()] * 64,
    collections.deque([TEXT] * 64),
    [list(range(1_000_000))] * 100,
)


@shmperf.track
def takes(value):
    return len(value)


shmperf.set_optimization_mode(True)
takes([])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), resource.RLIM_INFINITY))
assert [takes(value) for value in PARAMETERS] == [64, 1, 64, 64, 100]
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
