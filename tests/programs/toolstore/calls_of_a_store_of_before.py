"""Calls of a tool that a tool store holds already, until its performance says so."""

import os
import time

import shmperf
from shmperf.rag import ToolStore


@shmperf.track
def fetch_weather(city: str) -> str:
    return "rain"


for _ in range(7):
    fetch_weather("Oslo")
shmperf.flush()
deadline = time.monotonic() + float(os.environ["TESTS_DEADLINE_S"])
with ToolStore() as tools:
    while True:
        artifact = tools.get("tool_fetch_weather")
        assert artifact is not None
        count = artifact["metadata"]["perf_summary"]["call_count"]
        if count != 20 or time.monotonic() > deadline:
            break
        time.sleep(0.05)
print(count)
