"""
Calls so many tools so often in all, each below another one or below none; some fail.

Arguments: tools, calls. Leaves the collector the time to drain, as tools do that do something.
"""

import sys

import shmperf

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
for number in range(calls // count):
    for job in outer:
        job(number)
    if number % 10 == 9:
        shmperf.get_perf_stats()
shmperf.flush(60)
found = shmperf.get_perf_stats()
print(found["total_calls"], sum(found["lost"].values()))
