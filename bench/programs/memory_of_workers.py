"""
What workers and their collector have of memory before and after their calls, as JSON.

Arguments: tools, calls of each, workers. Nothing but shmperf is imported between the readings: the
bench itself would be in them.
"""

import json
import multiprocessing
import os
import subprocess
import sys


def resident(pid="self"):
    with open(f"/proc/{pid}/smaps_rollup") as file:  # noqa: PTH123  pathlib would be in it too
        return file.read()


count, limit, workers = map(int, sys.argv[1:])
before = resident()

import shmperf
from shmperf.worker.process import worker

tools = [shmperf.track(name=f"tool{n}")(lambda x: x) for n in range(count)]
tools[0](0)
shmperf.get_perf_stats()
status = [sys.executable, "-m", "shmperf", "status", "--json"]
pid = json.loads(subprocess.run(status, capture_output=True, check=True).stdout)["collector"]["pid"]
collector_before = resident(pid)


def work(released=None):
    for n in range(limit):
        for tool in tools:
            tool(1)
        if n % 10 == 9:
            # As tools that do something leave the collector the time to drain.
            shmperf.get_perf_stats()
    if released is not None:
        released.wait()


fork = multiprocessing.get_context("fork")
released = fork.Event()
others = [fork.Process(target=work, args=(released,)) for _ in range(workers - 1)]
for process in others:
    process.start()
work()
stats = shmperf.get_perf_stats()
assert shmperf.flush(60)
while stats["begun"] < limit * count * workers + 1:
    stats = shmperf.get_perf_stats()
assert shmperf.flush(60)
found = {"before": before, "worker": resident(), "collector_before": collector_before}
found["collector"] = resident(pid)
shared = os.path.join("/dev/shm", worker.segment.name)  # noqa: S108, PTH118  where it is; as above
found["shared"] = os.stat(shared).st_blocks * 512 / 2**20  # noqa: PTH116  as above
found["lost"] = sum(stats["lost"].values())
found["kept"] = sum(tool["current_size"] for tool in stats["tool_stats"].values())
released.set()
for process in others:
    process.join()
print(json.dumps(found))
