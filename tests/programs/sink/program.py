"""Calls what its arguments say, or its standard input for as long as that is open."""

import sys

import shmperf


@shmperf.track("good")
def good():
    pass


@shmperf.track("bad")
def bad():
    raise ValueError


for line in sys.argv[1:] or sys.stdin:
    tool, count = line.split()
    for _ in range(int(count)):
        try:
            {"good": good, "bad": bad}[tool]()
        except ValueError:
            pass
    print("called", flush=True)
