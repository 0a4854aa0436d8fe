"""
A time limit that ends while foreign code runs in a call of ours: a ``repr``, a property, a hook.

Prints of each kind whether that reached the program, and what was current behind it; how often each
tool ran; and the statistics.
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass

import shmperf
from shmperf.integrations.observer import Observer
from shmperf.interceptors import InterceptorChain, ToolInterceptor, intercept_tool_call
from shmperf.worker.walk import Walk

# A pause of a busy machine in a ``repr`` is no slow one, whose type would be shown by its name.
Walk.__init__.__kwdefaults__["clock"] = lambda: 0

ran = Counter()
kind = TimeoutError


class Alarm(Exception):
    pass


class Changed(RuntimeError):
    pass


class Handler:
    """Of an object that is called, and once."""

    def __call__(self, number, frame):
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise kind


def wait(*_):
    """Until the limit: for ever, would nobody pass it on."""
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    while True:
        pass


class Slow:
    """Whose ``repr`` takes too long, once."""

    is_slow = True

    def __repr__(self):
        if self.is_slow:
            self.is_slow = False
            wait()
        return "slow"


@dataclass
class Held:
    value: object


class Failure(Exception):
    is_slow = True

    def __str__(self):
        if self.is_slow:
            self.is_slow = False
            wait()
        return "failure"


class Named:
    @property
    def name(self):
        wait()


@shmperf.track_class(method="execute")
class Tools(Named):
    def execute(self):
        ran["Tools"] += 1


@shmperf.track
def plain(*args, **kwargs):
    ran["plain"] += 1


@shmperf.track(params=lambda *_: wait())
def chosen(n):
    ran["chosen"] += 1


@shmperf.track
async def awaited(value):
    ran["awaited"] += 1


@shmperf.track
def steps(value):
    ran["steps"] += 1
    yield value


@shmperf.track
def annotates():
    ran["annotates"] += 1
    shmperf.annotate(value=Slow())


@shmperf.track
def fails():
    ran["fails"] += 1
    raise Failure


def block():
    with shmperf.call("block", value=Slow()):
        ran["block"] += 1


def pair():
    begun = shmperf.track_tool_call("pair", {"value": Slow()})
    ran["pair"] += 1
    shmperf.end_tool_call(begun)


def in_chain(*args):
    ran["in chain"] += 1


class Before(ToolInterceptor):
    before_execution = wait


class After(ToolInterceptor):
    after_execution = wait


class Failing(ToolInterceptor):
    on_exception = wait


def through(interceptor, function):
    chain = InterceptorChain()
    chain.add_interceptor(interceptor)
    chain.intercept_tool_call("unrecorded", function)


KINDS = {
    "parameter": lambda: plain(Slow()),
    "named parameter": lambda: plain(1, value=Slow()),
    "field": lambda: plain([Held(Slow())]),
    "key": lambda: plain({Slow(): 1}),
    "key in a tuple": lambda: plain({(Slow(), 1): 1}),
    "chosen": lambda: chosen(1),
    "name": lambda: Tools().execute(),
    "metadata": annotates,
    "error": fails,
    "coroutine": lambda: asyncio.run(awaited(Slow())),
    "generator": lambda: list(steps(Slow())),
    "block": block,
    "pair": pair,
    "chain": lambda: intercept_tool_call("in chain", in_chain, (Slow(),)),
    "before": lambda: through(Before(), int),
    "after": lambda: through(After(), int),
    "on exception": lambda: through(Failing(), lambda: {}["none"]),
    "observer": lambda: Observer("framework").guard(wait),
}


def raised_by(function):
    try:
        function()
    except Exception as error:  # noqa: BLE001  whatever it is, it is printed
        return type(error).__name__
    return "nothing"


plain(0)
signal.signal(signal.SIGALRM, Handler())
found = {}
for kind in (TimeoutError, Alarm, Changed, ValueError, KeyError):
    for name, function in KINDS.items():
        raised = raised_by(function)
        found[f"{name}: {kind.__name__}"] = raised == kind.__name__, shmperf.current()
        plain(0)

# On a busy machine the collector has much to catch up with.
assert shmperf.flush(float(os.environ["TESTS_DEADLINE_S"]))
json.dump([found, ran, shmperf.get_perf_stats()], sys.stdout)
