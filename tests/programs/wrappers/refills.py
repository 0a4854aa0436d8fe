"""
Grants of few slots: every kind of call comes to the end of one, and is struck there once.

With ``twice`` it is struck again as Python takes its end over, where C has begun it.
"""

import asyncio
import json
import sys

from shmperf import call, current, end_tool_call, get_perf_stats, track, track_tool_call
from shmperf.worker import grants
from shmperf.worker.quickcall import QuickCall

CALLS = 200
REFILL, LATE = grants.Grants.refill.__code__, QuickCall._exit_late.__code__
made, late = [0], [0]


@track
def function(number):
    return number


@track
async def coroutine(number):
    return number


def block(number):
    with call("block", number=number):
        return number


def pair(number):
    end_tool_call(track_tool_call("pair", {"number": number}))
    return number


def awaited(number):
    return asyncio.run(several(number))


async def several(number):
    for _ in range(20):
        await coroutine(number)
        made[0] += 1
    return number


def struck_in_refills(work):
    """How often a refill was interrupted that *work* has led to, of the first three."""
    left, times = 3, 0

    def strike(frame, event, argument):
        nonlocal left
        if frame.f_code is REFILL and left:
            left -= 1
            raise KeyboardInterrupt

    def strike_late(frame, event, argument):
        if frame.f_code is LATE:
            late[0] += 1
            raise KeyboardInterrupt

    for number in range(CALLS):
        # What has raised is no more in force; so each is here for itself.
        sys.settrace(strike)
        sys.setprofile(strike_late if sys.argv[1:] else None)
        try:
            assert work(number) == number
        except KeyboardInterrupt:
            times += 1
        finally:
            sys.settrace(None)
            sys.setprofile(None)
        assert current() is None
    return times


kinds = function, block, pair, awaited
struck = {kind.__name__: struck_in_refills(kind) for kind in kinds}
stats = get_perf_stats()
# Those whose result nobody has got were struck: they are recorded as well.
counts = {kind.__name__: CALLS for kind in kinds[:3]} | {"coroutine": made[0] + 3}
print(json.dumps([struck, counts, stats, late[0]]))
