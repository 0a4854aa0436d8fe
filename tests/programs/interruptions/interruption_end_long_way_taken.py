import json
import sys

import shmperf


@shmperf.track
def tool(n):
    return n


tool(0)
made = 1
struck = 0


def trace(frame, event, argument):
    global struck
    if frame.f_code.co_name == "_exit" and "quickcall" in frame.f_code.co_filename:
        struck += 1
        sys.settrace(None)
        raise KeyboardInterrupt


for n in range(10):
    sys.settrace(trace)
    try:
        tool(n)
    except KeyboardInterrupt:
        pass
    made += 1
assert struck == 10

print(json.dumps([made, shmperf.get_perf_stats()]))
