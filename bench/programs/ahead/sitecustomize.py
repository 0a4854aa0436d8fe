"""
In every interpreter that finds it: the wall clock is off by WALL_CLOCK_AHEAD_S seconds.

What lasts how long is as it is: only the wall clock of a machine is ever that wrong.
"""

import os
import time

_AHEAD_S = float(os.environ.get("WALL_CLOCK_AHEAD_S", "0"))
_time, _time_ns = time.time, time.time_ns

if _AHEAD_S:
    time.time = lambda: _time() + _AHEAD_S
    time.time_ns = lambda: _time_ns() + int(_AHEAD_S * 1e9)
