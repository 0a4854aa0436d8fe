"""Fills the disk of its storage, calls, and makes room again."""

import os
import pathlib
import time

import shmperf

storage = pathlib.Path("perf_data")


@shmperf.track
def tool(n):
    return n


tool(0)
shmperf.flush()
filler = storage / "filler"
try:
    filler.write_bytes(b"x" * 70_000)
except OSError:
    pass
for n in range(2000):
    assert tool(n) == n
assert not shmperf.flush(3)
stats = shmperf.get_perf_stats()
assert stats["begun"] == stats["total_calls"] == 2001, stats
filler.unlink()
deadline = time.monotonic() + float(os.environ["TESTS_DEADLINE_S"])
while not shmperf.flush(5):
    assert time.monotonic() < deadline
lines = (storage / "tool_perf.jsonl").read_text().splitlines()
print(len(lines) >= 100, '\\"n\\":1999' in lines[-1])
