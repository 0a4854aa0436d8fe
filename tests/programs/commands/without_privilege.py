"""
Runs the command of its arguments as root, if it is root, whom file modes bind like anybody else.

Two capabilities are what lets root read whatever it wants: both leave the set that exec hands on.
"""

import ctypes
import os
import sys

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2

libc = ctypes.CDLL(None, use_errno=True)
if os.geteuid() == 0:
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "capabilities can't be dropped")
command = [sys.executable, "-m", "shmperf", *sys.argv[1:]]
os.execv(sys.executable, command)  # noqa: S606  its own arguments
