"""
Calls in a pretended file system, with ``first`` the first one, too.

Prints what there is in it of ours, and the statistics.
"""

import json
import os
import sys

from pyfakefs.fake_filesystem_unittest import Patcher

import shmperf


@shmperf.track
def tool(n):
    return n


here = os.getcwd()  # noqa: PTH109  as the pretended one is asked
if sys.argv[1] != "first":
    tool(0)
_ = shmperf.track_tool_call
with Patcher() as patcher:
    patcher.fs.create_dir(here)
    os.chdir(here)
    for n in range(300):
        tool(n)
    with shmperf.call("block"):
        pass
    found = os.listdir(here)  # noqa: PTH208  the same
assert shmperf.flush()
print(json.dumps([found, shmperf.get_perf_stats()]))
