"""
Calls tools, each line of standard input one call, or so many a second in a steady flow.

Arguments: how many tools, how many calls a second (0: on demand).
"""

import sys
import time

import shmperf

count, per_s = map(int, sys.argv[1:])
tools = [shmperf.track(f"tool{n}")(lambda: None) for n in range(count)]
if per_s:
    began, place = time.monotonic(), 0
    print("called", flush=True)
    while True:
        while place < (time.monotonic() - began) * per_s:
            tools[place % count]()
            place += 1
        time.sleep(0.005)
for _ in sys.stdin:
    tools[0]()
    print("called", flush=True)
