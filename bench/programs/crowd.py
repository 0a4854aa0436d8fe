"""
So many workers that call so many tools between them, steadily, until standard input ends.

Arguments: workers, tools, calls a second of all. Each worker has one call open all the time, below
which all others lie, and prints nothing; ``called`` says that every tool was called.
"""

import multiprocessing
import sys
import time

import shmperf

workers, count, per_s = map(int, sys.argv[1:])
# Of each tool's calls some come from several workers.
_SHARED = 5
tools = [shmperf.track(name=f"tool{n}")(lambda n: n) for n in range(count)]


@shmperf.track
def serve(number, called, released):
    """One worker's life."""
    share = max(1, count // workers) * _SHARED
    mine = [tools[(number * share // _SHARED + n) % count] for n in range(share)]
    for tool in mine:
        tool(0)
    called.release()
    place = 0
    while not released.wait(0.2):
        for _ in range(max(1, per_s // workers // 5)):
            mine[place % share](place)
            place += 1


def main():
    fork = multiprocessing.get_context("fork")
    called, released = fork.Semaphore(0), fork.Event()
    others = [fork.Process(target=serve, args=(n, called, released)) for n in range(workers)]
    for process in others:
        process.start()
    for _ in others:
        called.acquire()
    print("called", flush=True)
    sys.stdin.read()
    released.set()
    for process in others:
        process.join()
    # Whoever founded the session stays until its last worker has left.
    time.sleep(0.1)


main()
