"""Forgets shared memory that is not ours, beside a worker's."""

import sys

from shmperf.shm.segment import Segment

name, other, budget = sys.argv[1], sys.argv[2], int(sys.argv[3])
segment = Segment(name, budget_bytes=budget)
# Behind ours: what ours does to the resource tracker must not reach it.
from multiprocessing.shared_memory import SharedMemory

forgotten = SharedMemory(other, create=True, size=10)
