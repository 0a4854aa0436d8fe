"""Leaves a worker's memory behind, as programs end, beside memory of its own."""

import sys
from multiprocessing.shared_memory import SharedMemory

from shmperf.shm.segment import Segment

name, budget = sys.argv[1], int(sys.argv[2])
segment = Segment(name, budget_bytes=budget)
other = SharedMemory(create=True, size=10)
other.close()
other.unlink()
