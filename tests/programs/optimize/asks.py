"""Asks for a run while a thread of its own calls, then for one without a call."""

import json
import threading

import shmperf


@shmperf.track
def tool(text):
    pass


def call():
    while not done.is_set():
        tool("x" * 1_000)
        done.wait(0.001)


done = threading.Event()
caller = threading.Thread(target=call)
caller.start()
report = shmperf.optimize(calls=20)
done.set()
caller.join()
print(json.dumps([report, shmperf.optimize(seconds=0.2)]))
assert shmperf.optimize(seconds=True, calls=1.0)["ended_by"] == "time"
SECONDS, CALLS = (0, float("nan"), 10**30), (0, 1.5, float("nan"), 10**9)
for wrong in [*({"seconds": one} for one in SECONDS), *({"calls": one} for one in CALLS)]:
    try:
        shmperf.optimize(**wrong)
    except ValueError as error:
        assert "expected" in str(error)
    else:
        raise AssertionError(wrong)
