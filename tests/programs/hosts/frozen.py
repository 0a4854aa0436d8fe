"""A program to be frozen; it counts its runs. Prints whether its calls are on disk."""

from pathlib import Path

import shmperf

with Path("runs").open("a") as runs:
    runs.write("run\n")


@shmperf.track
def tool(n):
    return n


for n in range(7):
    tool(n)
# Where no collector comes up, that is known long before.
print(shmperf.flush(60))
