"""Calls a sampled tool without end, and tells each time how many calls have ended by then."""

import sys

from shmperf import track


@track
def tool(n):
    return n


@track
def hangs(n):
    if n == 20_000:
        print(n, flush=True)
        sys.stdin.read()
    return n


for n in range(30_000):
    tool(n)
    hangs(n)
