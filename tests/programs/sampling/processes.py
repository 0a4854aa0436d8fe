"""
Sampled calls in forks and spawned processes, also a call in whose middle its process forks.

Prints how many ended of each tool.
"""

import json
import multiprocessing
import os

from shmperf import call, track


@track
def tool(n):
    return n


@track
def forks():
    child = os.fork()
    for n in range(100):
        tool(n)
    return child


def work(rounds):
    for n in range(rounds):
        tool(n)


if __name__ == "__main__":
    work(100)
    for _ in range(5):
        child = forks()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    with call("block"):
        child = os.fork()
        work(100)
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            pool.map(work, [250] * 4)
    print(json.dumps({"tool": 100 + 5 * 200 + 200 + 2 * 1_000, "forks": 5, "block": 1}))
