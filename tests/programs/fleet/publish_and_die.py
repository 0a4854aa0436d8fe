"""Publish a storage's outbox; at the named point for the so manieth time, be killed."""

import sys
import time
from pathlib import Path

from bench.faults.points import stop_at
from shmperf.config.options import Fleet
from shmperf.fleet.publisher import Records
from shmperf.fleet.reach import engine_of

storage, url, point, nth = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
if nth:
    stop_at(point, nth, "kill")
fleet = Fleet(url=url, node="node")
records = Records(storage, fleet, engine_of(fleet, {}, "tests"))
while True:
    if not records.step() and not records.look().waiting:
        break
    time.sleep(0.001)
print(records.report.sent)
