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
for wrong in ({"seconds": 0}, {"seconds": float("nan")}, {"calls": 0}, {"calls": 10**9}):
    try:
        shmperf.optimize(**wrong)
    except ValueError as error:
        assert "expected" in str(error)
    else:
        raise AssertionError(wrong)
