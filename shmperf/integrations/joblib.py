"""
joblib, and what scikit-learn runs by it: each task is a call, whatever backend runs it.

joblib sends tasks to its workers in batches; an element of a batch is the task, also one that runs
in the program's own thread because there is one worker only. Later batches are taken from the
iterator by joblib's own threads: the parent is who called ``Parallel``, all the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from shmperf.worker.context import current_call

from .patching import imported, replace
from .task import hand_over

__all__ = ["attach"]

_SOURCE = "joblib"


def attach() -> Callable[[], None]:
    """Have joblib hand tasks over as calls, from the next ``Parallel`` on."""
    parallel = imported("joblib.parallel", "Parallel.__call__", package=_SOURCE, having=">=1.3")
    original = parallel.Parallel.__call__

    @functools.wraps(original)
    def call(self: Any, iterable: Iterable[Any]) -> Any:
        return original(self, _tasks(iterable, current_call.get()))

    return replace(parallel.Parallel, "__call__", call)


def _tasks(calls: Iterable[Any], parent: Any) -> Iterator[Any]:
    for function, args, kwargs in calls:
        before = current_call.set(parent)
        try:
            task = hand_over(_SOURCE, function)
        finally:
            current_call.reset(before)
        yield task, args, kwargs
