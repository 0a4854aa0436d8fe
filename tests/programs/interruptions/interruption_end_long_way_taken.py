import json
import sys

import shmperf
from shmperf.compiled.chosen import hot


@shmperf.track
def tool(n):
    return n


# Where a call ends whose record fits a slot, and one whose parameters do not.
ENDS = [("_exit", "quickcall", 1), ("close", "opencall", "x" * 5_000)]
tool(0)
made = 1
struck = {"quickcall": 0, "opencall": 0}


def trace(frame, event, argument):
    if frame.f_code.co_name == name and where in frame.f_code.co_filename:
        struck[where] += 1
        sys.settrace(None)
        raise KeyboardInterrupt


for name, where, given in ENDS * 10:
    sys.settrace(trace)
    try:
        tool(given)
    except KeyboardInterrupt:
        pass
    made += 1
# The first is struck in C only where that leaves an end to Python, as after a slow call.
assert struck["opencall"] == 10
assert struck["quickcall"] == 10 or (hot is not None and struck["quickcall"] < 10)

print(json.dumps([made, shmperf.get_perf_stats()]))
