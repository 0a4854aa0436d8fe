"""Ranks two tools again and again, until the one that breaks elsewhere is left out."""

import json
import time

import shmperf
from shmperf.rag import CircuitBreaker, LiveStatistics, rank


@shmperf.track
def weather_report():
    "A call, so that there is a session here."


weather_report()
live, breaker = LiveStatistics(), CircuitBreaker(failures=5, cooldown_s=1000)
begun = time.monotonic()
print("looking", flush=True)
while True:
    ranked = rank([("fetch_weather", 0.9), ("weather_report", 0.9)], live=live, breaker=breaker)
    found = {one.name: one for one in ranked}
    if not found["fetch_weather"].usable:
        break
    time.sleep(0.1)
first = ranked[0]
print(json.dumps({"first": first.name, "source": ranked[-1].source, "why": ranked[-1].why}))
