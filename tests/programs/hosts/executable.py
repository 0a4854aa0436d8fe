"""
A program whose ``sys.executable`` is the second argument, frozen with a third; it counts its runs.

Prints whether its call is on disk when it asks.
"""

import sys
from pathlib import Path

with Path("runs").open("a") as runs:
    runs.write("run\n")
sys.executable = sys.argv[1]
if sys.argv[2:]:
    sys.frozen = True
import shmperf


@shmperf.track
def tool(n):
    return n


tool(1)
# Where no collector comes up, that is known long before.
print(shmperf.flush(60))
