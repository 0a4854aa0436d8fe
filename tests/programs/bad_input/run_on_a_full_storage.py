"""Fills the disk of its storage between its calls, and leaves it full."""

import contextlib
import pathlib

import shmperf


@shmperf.track
def tool(n):
    return n


tool(0)
assert shmperf.flush()
with contextlib.suppress(OSError):
    pathlib.Path("perf_data/filler").write_bytes(b"x" * 70_000)
for n in range(1, 2000):
    tool(n)
print(shmperf.get_perf_stats()["begun"])
