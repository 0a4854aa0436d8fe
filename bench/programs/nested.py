"""
Calls so many tools so often in all, each below another one or below none; some fail.

Arguments: tools, calls. Several workers share them: a frame of the collector's then holds many
calls of each tool, which makes a long history in a fraction of the time. Each leaves the collector
the time to drain, as tools do that do something. Lines tell how far they are; the last has the
calls that were counted, and those that were lost.
"""

import multiprocessing
import sys

import shmperf

_WORKERS = 8
# Fewer than a ring has slots that two growths made: none is lost while the collector is busy.
_UNDRAINED = 60

count, calls = map(int, sys.argv[1:])


def failing(number):
    if number % 50 == 49:
        raise ValueError(f"number {number % 7}")


inner = [shmperf.track(name=f"step{n}")(failing) for n in range(count // 2)]


def made(below):
    def job(number):
        try:
            below(number)
        except ValueError:
            pass

    return job


outer = [shmperf.track(name=f"job{n}")(made(tool)) for n, tool in enumerate(inner)]


def work(numbers):
    """One worker's part."""
    tenth = len(numbers) // 10
    for done, number in enumerate(numbers):
        if numbers.start == 0 and tenth > _UNDRAINED and done % tenth == tenth - 1:
            print(f"{(done + 1) // tenth * 10} %", flush=True)
        for job in outer:
            job(number)
        if done % _UNDRAINED == _UNDRAINED - 1:
            shmperf.get_perf_stats("job0")
    shmperf.flush(60)


def main():
    fork = multiprocessing.get_context("fork")
    each = range(calls // count)
    others = [fork.Process(target=work, args=(each[n::_WORKERS],)) for n in range(_WORKERS)]
    for process in others:
        process.start()
    for process in others:
        process.join()
    found = shmperf.get_perf_stats()
    print(found["total_calls"], sum(found["lost"].values()))


main()
