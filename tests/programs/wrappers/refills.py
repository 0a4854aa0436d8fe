"""Grants of few slots: every kind of call comes to the end of one, and is struck there once."""

import asyncio
import json
import sys

from shmperf import call, current, end_tool_call, get_perf_stats, track, track_tool_call
from shmperf.worker import grants

CALLS = 200
made = [0]


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
    code, left, times = grants.Grants.refill.__code__, 3, 0

    def strike(frame, event, argument):
        nonlocal left
        if frame.f_code is code and left:
            left -= 1
            raise KeyboardInterrupt

    for number in range(CALLS):
        sys.settrace(strike)
        try:
            assert work(number) == number
        except KeyboardInterrupt:
            times += 1
        finally:
            sys.settrace(None)
        assert current() is None
    return times


kinds = function, block, pair, awaited
struck = {kind.__name__: struck_in_refills(kind) for kind in kinds}
stats = get_perf_stats()
# Those whose result nobody has got were struck: they are recorded as well.
counts = {kind.__name__: CALLS for kind in kinds[:3]} | {"coroutine": made[0] + 3}
print(json.dumps([struck, counts, stats]))
