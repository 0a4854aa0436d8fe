"""Another program, whose slots are stored as on an aarch64 with C or, "sealed", as without it."""

from __future__ import annotations

import runpy
import sys

from shmperf.compiled.chosen import hot
from shmperf.shm import fence, ring, segment

# Before the worker looks for what it stores with.
compiled = None if sys.argv[3] == "sealed" else hot
fence.PUBLISHED = fence.published("aarch64", compiled)
segment.SEALS = fence.needs_seal("aarch64", compiled)
ring.REORDERS = fence.REORDERS = True

runpy.run_path(sys.argv[2], run_name="__main__")

from shmperf.worker.process import tools, worker

tool, memory = tools["plain"], worker.segment
assert memory is not None
assert tool.bound is not None
assert memory.sealed == (compiled is None)
# The word of a sealed segment fits no session: the compiled path is left aside.
assert (tool.bound[0] < 0) == memory.sealed
