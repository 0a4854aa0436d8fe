"""So many calls, each of some parameters that come back again and again; about 0.1 ms each."""

import sys
import time

import shmperf


@shmperf.track
def lookup(key):
    time.sleep(0.00005)


for number in range(int(sys.argv[1])):
    lookup(f"key {number % 7}")
