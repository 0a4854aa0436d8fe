"""
``threading.Thread``: what a thread runs is a call beneath the current call of who started it.

The call is named after the thread's target, a timer's after its function, and that of a subclass
with a ``run`` of its own after the class. Threads in which somebody else's tasks run one after
another, those of executors and pools, are left alone: they have no one starter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from shmperf.integrations.observer import Observer
from shmperf.worker.process import worker

from .contexts import in_a_context
from .patching import imported, replace
from .task import Origin, Task, is_plumbing, perform

__all__ = ["attach"]

_SOURCE = "threading"
_OF_POOLS = frozenset(
    {
        "anyio._backends._asyncio",
        "asyncio.base_events",
        "asyncio.unix_events",
        "concurrent.futures.process",
        "concurrent.futures.thread",
        "multiprocessing.managers",
        "multiprocessing.pool",
        "multiprocessing.queues",
        "multiprocessing.resource_sharer",
    }
)
_observer = Observer(_SOURCE)


def attach() -> Callable[[], None]:
    """Have threads carry on whose they are, from the next start on."""
    names = ("Thread.start", "Thread.run", "Timer.run")
    threading = imported("threading", *names, package=_SOURCE, having=">=3.11")
    thread = threading.Thread
    original = thread.start

    @functools.wraps(original)
    def start(self: Any) -> None:
        given = vars(self).get("run")
        # One that has been started has nothing left to carry.
        if worker.is_wanted and vars(self).get("_ident", 0) is None:
            _observer.guard(_carry, threading, self)
        try:
            original(self)
        except BaseException:
            # Not started, or started before: it is as it was.
            _give_back(self, given)
            raise

    return replace(thread, "start", start)


def _carry(threading: Any, thread: Any) -> None:
    """Let *thread* run as a call, by a ``run`` that it has until it begins."""
    run, given = thread.run, vars(thread).get("run")
    kind = getattr(run, "__func__", run)
    if kind is threading.Thread.run:
        target = thread._target, thread._args, thread._kwargs
    elif kind is threading.Timer.run:
        target = thread.function, (), {}
    else:
        target = type(thread) if given is None else run, (), {}
    if target[0] is None or getattr(target[0], "__module__", None) in _OF_POOLS:
        return
    if is_plumbing(target[0]):
        return
    function, origin = Origin.of(target[0])

    def run_as_call() -> None:
        _give_back(thread, given)
        if kind is threading.Timer.run:
            # Its call begins when the time is up.
            thread.function = Task(_SOURCE, function, origin)
            try:
                run()
            finally:
                thread.function = target[0]
            return
        if in_a_context(function, *target[1:]) is not None:
            thread._target = Task(_SOURCE, function, origin)
            run()
            return
        if function is not target[0]:
            thread._target = function
        perform(_SOURCE, origin, run, (), {}, named=(function, *target[1:]))

    vars(thread)["run"] = run_as_call


def _give_back(thread: Any, run: Any) -> None:
    if run is None:
        vars(thread).pop("run", None)
    else:
        vars(thread)["run"] = run
