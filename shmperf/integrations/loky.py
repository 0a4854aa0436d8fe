"""
loky's executors, used without joblib: each task is a call, in the worker process that runs it.

The reusable executor hands on to the same two methods. What joblib brings along under this name is
a copy of its own, whose tasks are joblib's.
"""

from __future__ import annotations

from collections.abc import Callable

from .executors import mapping, submitting
from .patching import imported, replace, undo_all

__all__ = ["attach"]

_SOURCE = "loky"


def attach() -> Callable[[], None]:
    """Have loky's executors hand tasks over as calls, also those that exist."""
    names = ("ProcessPoolExecutor.submit", "ProcessPoolExecutor.map", "_process_chunk")
    module = imported("loky.process_executor", *names, package=_SOURCE, having=">=3.4")
    pool = module.ProcessPoolExecutor
    return undo_all(
        replace(pool, "submit", submitting(_SOURCE, pool.submit, module._process_chunk)),
        replace(pool, "map", mapping(_SOURCE, pool.map)),
    )
