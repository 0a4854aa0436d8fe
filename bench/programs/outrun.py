"""
Calls tools in turn at a rate, or as fast as it can; prints how many calls, and how many were lost.

Arguments: how many tools, calls a second, seconds.
"""

import json
import sys
import time

import shmperf

_MOST_AT_ONCE = 1_000


def _copy():
    def tool(number):
        pass

    return tool


count, rate, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
tools = [shmperf.track(f"tool{n}")(_copy()) for n in range(count)]
for tool in tools:
    tool(0)
# The collector is there from here on.
before = sum(shmperf.get_perf_stats()["lost"].values())
began, made = time.perf_counter(), 0
while (elapsed := time.perf_counter() - began) < seconds:
    due = min(int(elapsed * rate) - made, _MOST_AT_ONCE)
    for number in range(made, made + due):
        tools[number % count](number)
    made += due
    if due < rate // 1_000:
        time.sleep(0.001)
lost = sum(shmperf.get_perf_stats()["lost"].values()) - before
print(json.dumps({"made": made, "lost": lost}))
