"""Calls a tool that keeps all until it has killed four collectors; prints how often."""

import os
import signal
import time

import shmperf
from shmperf.errors import ShmperfError
from shmperf.session.client import Client
from shmperf.session.messages import Ping
from shmperf.worker.process import worker


@shmperf.track
def search(n):
    return n


deadline = time.monotonic() + float(os.environ["TESTS_DEADLINE_S"])
calls = killed = 0
while killed < 4 and time.monotonic() < deadline:
    for _ in range(200):
        search(calls)
        calls += 1
    assert worker.session is not None
    try:
        os.kill(Client(worker.session.directory).ask(Ping(), 1.0), signal.SIGKILL)
        killed += 1
    except ShmperfError:
        pass  # the next one is not there yet
search(calls)
print(calls + 1, killed)
