"""Prints how many ms the first call takes in the child of a fork."""

import os
import time

import shmperf


@shmperf.track
def tool():
    pass


tool()
read, write = os.pipe()
if os.fork() == 0:
    start = time.perf_counter()
    tool()
    os.write(write, str((time.perf_counter() - start) * 1000).encode())
    os._exit(0)
print(os.read(read, 100).decode())
os.wait()
