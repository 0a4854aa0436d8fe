import sys

import shmperf

sys.path.insert(0, "broken")


@shmperf.track
def tool(n):
    return n + 1


print(tool(1), tool(2), shmperf.get_tracker().mode)
