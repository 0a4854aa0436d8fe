"""
Prints how many ms the first call takes, and until the collector has answered.

With an argument another program joins the session then and prints the same of itself.
"""

import sys
import time

import shmperf


@shmperf.track
def tool():
    pass


start = time.perf_counter()
tool()
first = time.perf_counter()
shmperf.get_perf_stats("tool")
answered = time.perf_counter()
# Before whatever a joining program prints.
print((first - start) * 1000, (answered - start) * 1000, flush=True)
if sys.argv[1:]:
    # Not before: a first call pays for what it imports.
    import subprocess

    subprocess.run([sys.executable, __file__], check=True)
