"""Stores three slots, takes the place of a fourth, and is killed."""

import os
import signal
import sys

from shmperf.shm.record import SLOT, Callee, meta_of, seal
from shmperf.shm.segment import Segment

segment = Segment(sys.argv[1], budget_bytes=int(sys.argv[2]))
segment.add_callee(1, Callee("tool"))
meta = meta_of(1)
grant = segment.add_ring(1, 16).grant()
for call_id in range(3):
    position = next(grant.positions)
    at = position + grant.shift
    sealed = seal((call_id, 0, 1, 2), meta, b"") if segment.sealed else meta
    SLOT.pack_into(segment.buffer, at, call_id, 0, 1, 2, sealed, b"", position)
next(grant.positions)
os.kill(os.getpid(), signal.SIGKILL)
