"""Collect; at the named point for the so manieth time, be killed or stopped."""

import json
import signal
import sys
import threading

from bench.faults.points import stop_at
from shmperf.config.options import Fleet
from shmperf.fleet.collecting import Collector, Terms
from shmperf.fleet.objects import opened_objects
from shmperf.fleet.reach import engine_of

url, into, spec = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
if spec.get("point"):
    stop_at(spec["point"], spec.get("nth", 1), spec.get("action", "kill"))
fleet = Fleet(url=url)
engine = engine_of(fleet, {}, "tests")
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())


def say(text):
    """One line."""
    print(text, file=sys.stderr, flush=True)


terms = Terms(**spec.get("terms", {}))
collector = Collector(engine, fleet.stream, opened_objects(into), terms, say)
print("ready", flush=True)
collector.run(ended, until_empty=spec.get("until_empty", False))
engine.close()
print(collector.stored, flush=True)
