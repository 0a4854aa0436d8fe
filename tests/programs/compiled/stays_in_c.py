"""
Which functions of ours in Python the common calls of each kind enter, once they are known.

Prints them by kind: of many calls the fewest, as now and then one is slow or ends its grant.
"""

import asyncio
import json
import sys
from pathlib import Path

import shmperf

PACKAGE = str(Path(shmperf.__file__).parent)
CALLS = 30


@shmperf.track
def function(one=1, two="2", *rest, **named):
    return one


@shmperf.track
def counted(one=1):
    return one


class Tool:
    @shmperf.track
    def method(self, one):
        return one

    @classmethod
    @shmperf.track
    def of_class(cls, one):
        return one


@shmperf.track
async def coroutine(one=1):
    return one


def block(**params):
    with shmperf.call("block", **params):
        pass


def pair(*params):
    shmperf.end_tool_call(shmperf.track_tool_call("pair", *params))


def ours_in(work):
    """The functions of ours that *work* enters."""
    entered = []

    def note(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            entered.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return entered


def ended(coroutine):
    """Run a *coroutine* that waits for nothing, within the loop that runs."""
    try:
        coroutine.send(None)
    except StopIteration:
        return


def fewest_of(kinds):
    return {
        kind: min((ours_in(work) for _ in range(CALLS)), key=len) for kind, work in kinds.items()
    }


KINDS = {
    "function": function,
    "positional": lambda: function(1, "two", 3.0, None),
    "named": lambda: function(one=1, two="two"),
    "mixed": lambda: function(1, two="two", three=[1, 2]),
    "a dict": lambda: function({"key": "value"}),
    "method": lambda: Tool().method(1),
    "class method": lambda: Tool.of_class(1),
    "counted": counted,
    "block": block,
    "block with parameters": lambda: block(one=1, two="two"),
    "pair": pair,
    "pair with none": lambda: pair(None),
    "pair with parameters": lambda: pair({"one": 1}),
}
IN_LOOP = {
    "coroutine": lambda: ended(coroutine()),
    "coroutine with parameters": lambda: ended(coroutine(one=1)),
}


async def in_loop():
    return fewest_of(IN_LOOP)


def fewest():
    return fewest_of(KINDS) | asyncio.run(in_loop())


fewest()
normal = fewest()
shmperf.set_optimization_mode(True)
fewest()
print(json.dumps([normal, fewest()]))
