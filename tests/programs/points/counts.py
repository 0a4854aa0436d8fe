"""Counts the points of its calls, every other of which fails, until some have gone by in C."""

import itertools
import json

import shmperf
from bench.faults.points import count_points


@shmperf.track
def tool(number):
    if number % 2:
        raise ValueError(number)


tool(0)
counted = count_points()
# One that comes behind a slow call goes another way.
for number in itertools.count(1):
    try:
        tool(number)
    except ValueError:
        pass
    counts = counted()
    if min(counts["compiled-call-done"], counts["compiled-left-raised"]) >= 2:
        break
print(json.dumps(counts))
