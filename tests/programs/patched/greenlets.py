"""
Calls in greenlets of the library that is named, which patches before or after us.

Prints the statistics.
"""

import json
import sys

library, order = sys.argv[1:]


def patch():
    if library == "gevent":
        from gevent import monkey

        monkey.patch_all()
    else:
        import eventlet

        eventlet.monkey_patch()


if order == "before":
    patch()
import shmperf

_ = shmperf.track
if order == "after":
    patch()


def tool(n):
    sleep(0.001)
    return n


@shmperf.track
def outer(n):
    return tracked(n)


tracked = shmperf.track(tool)
if library == "gevent":
    import gevent

    sleep = gevent.sleep
    jobs = [gevent.spawn(outer, n) for n in range(50)]
    gevent.joinall(jobs)
    found = [job.value for job in jobs]
else:
    import eventlet

    sleep = eventlet.sleep
    jobs = [eventlet.spawn(outer, n) for n in range(50)]
    found = [job.wait() for job in jobs]
assert found == list(range(50))
assert shmperf.flush()
print(json.dumps(shmperf.get_perf_stats()))
