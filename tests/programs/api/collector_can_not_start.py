"""Asks, however long an answer may take, where no collector will ever give one."""

import os

import shmperf
from shmperf.worker import api

api._STATS_WAIT_S = float(os.environ["TESTS_DEADLINE_S"])


@shmperf.track
def tool() -> None:
    pass


tool()
assert shmperf.get_perf_stats("tool")["complete"] is False
assert shmperf.flush(api._STATS_WAIT_S) is False
