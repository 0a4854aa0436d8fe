"""Attaches, reads, fails to and makes memory, while the resource tracker runs."""

import sys
from multiprocessing.shared_memory import SharedMemory

# Before anything of ours is imported: the tracker is there already.
other = SharedMemory(create=True, size=10)

from shmperf.errors import SegmentGone
from shmperf.shm.memory import read_blob
from shmperf.shm.segment import Segment, SegmentReader

name, blob, budget = sys.argv[1], sys.argv[2], int(sys.argv[3])
kept = SegmentReader(name)
SegmentReader(name).close()
read_blob(blob, name, 1 << 20)
mine = Segment(f"{name}a", budget_bytes=budget)
mine.add_blob(b"more")
try:
    SegmentReader("shmperf-no-such-name")
except SegmentGone:
    pass
other.close()
other.unlink()
