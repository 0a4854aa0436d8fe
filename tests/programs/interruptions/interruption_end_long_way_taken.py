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
struck = 0


def trace(frame, event, argument):
    global struck
    if frame.f_code.co_name == name and where in frame.f_code.co_filename:
        struck += 1
        sys.settrace(None)
        raise KeyboardInterrupt


for name, where, given in ENDS * 10:
    sys.settrace(trace)
    try:
        tool(given)
    except KeyboardInterrupt:
        pass
    made += 1
# In C nothing is struck: there it is only the second.
assert struck == (20 if hot is None else 10)

print(json.dumps([made, shmperf.get_perf_stats()]))
