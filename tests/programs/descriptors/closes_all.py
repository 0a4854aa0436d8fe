"""
A program that closes every descriptor and opens files of its own, once or as a daemon does.

Prints the sizes of its files, which hold eight bytes each, and its statistics.
"""

import json
import os
import sys
from pathlib import Path

import shmperf

PATHS = [Path(f"file{n}") for n in range(12)]


@shmperf.track
def tool(n):
    return n


def close_all():
    """What a daemon does, and its files then get our numbers."""
    os.closerange(3, 4096)
    files = [path.open("w+") for path in PATHS]
    for file in files:
        file.write("12345678")
        file.flush()
    return files


for n in range(5):
    tool(n)
if sys.argv[1] == "daemon":
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status))
    tool(5)
files = close_all()
# Rings grow, and every tool gets one: all of that takes memory.
for n in range(3_000):
    tool(n)
for n in range(50):
    with shmperf.call(f"tool {n}", n=n):
        pass
stats = shmperf.get_perf_stats()
print(json.dumps([[path.stat().st_size for path in PATHS], stats]))
for file in files:
    file.seek(0)
    assert file.read() == "12345678"
    file.close()
assert shmperf.flush()
