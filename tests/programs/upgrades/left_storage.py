"""
What a version of shmperf leaves of a storage when its collector is killed between two flushes.

Made anew with a version's own code, from its commit, in an empty directory:

    git worktree add /elsewhere aa57945
    PYTHONPATH=/elsewhere SHMPERF_SESSION=left XDG_RUNTIME_DIR=$PWD python left_storage.py

``left/`` is the storage then, without what names the machine, and ``expected.json`` what the last
collector had answered: statistics, ids by tool, the graph. tests/storage/left_v1 is that, with
``internals`` in the place of ``.shmperf``.

Part of the calls is in files, part in the journal alone; one was aborted and one is open. Only what
every version has is used here.
"""

import contextlib
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import shmperf

CONFIG = """
tool_limits: {all: -1, few: 3}
storage: {flush_interval_seconds: 600, batch_size: 100000}
"""
SHMPERF = [sys.executable, "-m", "shmperf"]
ids = {}


@shmperf.track("all")
def keeps_all(n, password="hidden"):
    ids.setdefault("all", []).append(shmperf.current())
    if n % 3 == 0:
        few(n)
    if n % 5 == 4:
        raise KeyError(n)
    return n


@shmperf.track
def few(n):
    ids.setdefault("few", []).append(shmperf.current())
    return n


def round_of(first):
    for n in range(first, first + 12):
        with contextlib.suppress(KeyError):
            keeps_all(n)


def dies(ready):
    with shmperf.call("dies", n=1):
        ready.send(shmperf.current())
        ready.recv()


def asked(*command):
    text = subprocess.run([*SHMPERF, *command, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(text.stdout)


def main():
    pathlib.Path("config").mkdir()
    pathlib.Path("config/tool_perf_limits.yaml").write_text(CONFIG)
    collect = [*SHMPERF, "collect", "--session", os.environ["SHMPERF_SESSION"]]
    collector = subprocess.Popen([*collect, "--storage", "perf_data"])
    asked("status", "--wait")
    round_of(0)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=dies, args=(theirs,))
    child.start()
    ids["dies"] = [ours.recv()]
    child.kill()
    child.join()
    while asked("stats")["aborted"] != 1:
        pass
    assert shmperf.flush()
    shmperf.set_optimization_mode(True)
    round_of(100)
    shmperf.set_optimization_mode(False)
    with shmperf.call("open"):
        expected = {"stats": asked("stats"), "tree": asked("tree"), "ids": ids}
        collector.send_signal(signal.SIGKILL)
        collector.wait()
        shutil.copytree("perf_data", "left", ignore=shutil.ignore_patterns("session*", "*.lock"))
        pathlib.Path("expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True))
    # Nobody drains what is left in memory.
    for presence in pathlib.Path("shmperf").glob("n-*/w-*"):
        pathlib.Path("/dev/shm", presence.name.removeprefix("w-")).unlink()


if __name__ == "__main__":
    main()
