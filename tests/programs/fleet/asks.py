"""A tool that calls another node: it says under what, and goes on when it is answered."""

import sys

import shmperf


@shmperf.track
def handle(n):
    "Its child runs elsewhere."
    print(shmperf.traceparent(), flush=True)
    sys.stdin.readline()


@shmperf.track
def outer(n):
    handle(n)


for n in range(3):
    outer(n)
