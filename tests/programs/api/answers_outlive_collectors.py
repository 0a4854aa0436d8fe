"""Kills its collector again and again, and compares each answer with what it has called itself."""

import os
import signal
import threading

import shmperf
from shmperf.optimized_perf_tracker import OptimizedPerfTracker
from shmperf.session.client import Client
from shmperf.session.messages import Ping
from shmperf.worker.process import worker

WAIT_S = float(os.environ["TESTS_DEADLINE_S"])
ROUNDS, CALLS = 6, 300
shmperf.worker.api._STATS_WAIT_S = WAIT_S  # how long a busy machine takes is no promise


@shmperf.track
def tool(number: int) -> int:
    return number


def ask_pid(wait_s: float) -> int:
    assert worker.session is not None
    return Client(worker.session.directory, worker.session.start_collector).ask(Ping(), wait_s)


def kill_while_it_answers() -> None:
    """Kill the collector that is there when a question may be on its way to it."""
    os.kill(ask_pid(WAIT_S), signal.SIGKILL)


def compare(made: int) -> None:
    """Every way to ask tells of all calls, or says that it does not."""
    tracker = OptimizedPerfTracker()
    for found in (shmperf.get_perf_stats("tool"), tracker.get_tool_stats("tool")):
        assert (found["count"], found["complete"]) == (made, True), (found, made)
    for found in (shmperf.get_perf_stats(), tracker.get_all_stats()):
        assert (found["total_calls"], found["complete"], found["lost"]) == (made, True, {}), found


OptimizedPerfTracker()
made = 0
for round_ in range(ROUNDS):
    for _ in range(CALLS):
        tool(made)
        made += 1
    os.kill(ask_pid(WAIT_S), signal.SIGKILL)
    killer = threading.Thread(target=kill_while_it_answers)
    killer.start()
    if round_ % 2:
        assert shmperf.flush(WAIT_S)
    compare(made)
    killer.join()
print(made)
