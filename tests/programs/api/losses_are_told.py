"""
Calls more than its memory holds, from threads and from a logger too; prints what was told.

Its argument says who drains: nobody, or a collector that is stopped meanwhile.
"""

import json
import logging
import os
import signal
import sys
import threading

import shmperf
from shmperf.session.client import Client
from shmperf.session.messages import Ping
from shmperf.worker.process import worker

WAIT_S = float(os.environ["TESTS_DEADLINE_S"])
MANY = 3_000
told: list[str] = []


@shmperf.track
def tool(number: int) -> int:
    return number


class Telling(logging.Handler):
    """Calls a tool whose ring is full when it is told so."""

    def emit(self, record: logging.LogRecord) -> None:
        tool(0)
        told.append(record.getMessage())


logging.getLogger("shmperf").addHandler(Telling())
logging.getLogger("shmperf").propagate = False
tool(0)
stopped = 0
if sys.argv[1] == "stopped":
    assert worker.session is not None
    stopped = Client(worker.session.directory, worker.session.start_collector).ask(Ping(), WAIT_S)
    os.kill(stopped, signal.SIGSTOP)
threads = [threading.Thread(target=lambda: [tool(n) for n in range(MANY)]) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
pid = os.fork()
if pid == 0:
    # It loses calls of its own, in a program that has been told already.
    before = len(told)
    for n in range(MANY):
        tool(n)
    os._exit(len(told) != before or not shmperf.get_tracker().lost)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
lost = shmperf.get_tracker().lost
if stopped:
    os.kill(stopped, signal.SIGCONT)
json.dump({"told": told, "lost": lost, "fork": code}, sys.stdout)
