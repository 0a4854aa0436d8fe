"""A tool that another node calls: under what it is told, and once under a stranger's span."""

import sys
import time

import shmperf


@shmperf.track
def look_up(n):
    time.sleep(0.001)


@shmperf.track
def serve(n):
    look_up(n)


for line in sys.stdin:
    with shmperf.adopt(line.strip()):
        serve(1)
    print("served", flush=True)
with shmperf.adopt("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
    serve(2)
