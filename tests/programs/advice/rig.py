"""A run of the optimization cycle around what a program does, and the program's own ledger."""

import json
import threading
import time
from collections import defaultdict
from contextlib import contextmanager

import shmperf

# How long each call took, in seconds, by whatever a program takes for its name.
LEDGER = defaultdict(list)


@contextmanager
def timed(name):
    """What a tool does; told to the ledger, also if it fails."""
    begin_ns = time.perf_counter_ns()
    try:
        yield
    finally:
        LEDGER[name].append((time.perf_counter_ns() - begin_ns) / 1e9)


def report_of(work):
    """Do *work* in a run, which ends with it; the run's report."""
    reports = []
    asker = threading.Thread(
        target=lambda: reports.append(shmperf.optimize(seconds=600, calls=1_000_000))
    )
    asker.start()
    while shmperf.get_tracker().mode != "optimization":
        asker.join(0.001)
    work()
    shmperf.set_optimization_mode(False)
    asker.join()
    return reports[0]


def tell(work, saves_s):
    """Print the report of *work*, and what following its advice saves, as the ledger has it."""
    report = report_of(work)
    print(json.dumps({"report": report, "saves_s": saves_s()}))
