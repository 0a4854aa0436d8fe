"""Tells from inside each call how often the point was reached; it is waited for from the second."""

import sys

import shmperf
from bench.faults.points import instrumented_build, stop_at

name, nth, action = sys.argv[1:]
label = name.removeprefix("compiled-").encode()
times_at = instrumented_build().times_at


@shmperf.track
def tool():
    print(times_at(label), flush=True)


tool()
stop_at(name, int(nth), action)
# One that comes behind a slow call goes another way.
while times_at(label) < 5:
    tool()
