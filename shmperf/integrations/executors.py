"""
``ThreadPoolExecutor`` and ``ProcessPoolExecutor``: each task is a call, where it runs.

``asyncio.to_thread`` and ``run_in_executor`` hand their functions to such an executor. Every
element of ``map`` is a task. The call that a killed worker was in is an aborted call; so are those
of the other workers, which the executor then ends.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

from .patching import imported, replace, undo_all
from .task import hand_over

__all__ = ["attach", "mapping", "submitting"]

_SOURCE = "concurrent.futures"


def attach() -> Callable[[], None]:
    """Have executors hand tasks over as calls, also those that exist."""
    threads = _module("thread", "ThreadPoolExecutor.submit").ThreadPoolExecutor
    process = _module("process", "ProcessPoolExecutor.submit", "_process_chunk")
    processes = process.ProcessPoolExecutor
    return undo_all(
        replace(threads, "submit", submitting(_SOURCE, threads.submit)),
        replace(processes, "submit", submitting(_SOURCE, processes.submit, process._process_chunk)),
        replace(processes, "map", mapping(_SOURCE, processes.map)),
    )


def _module(name: str, *needed: str) -> Any:
    return imported(f"{_SOURCE}.{name}", *needed, package=_SOURCE, having=">=3.11")


def submitting(source: str, original: Callable[..., Any], chunk: Any = None) -> Callable[..., Any]:
    """An executor's ``submit`` that hands tasks over as calls, but not a *chunk* of some."""

    @functools.wraps(original)
    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if type(fn) is not partial or fn.func is not chunk:
            fn = hand_over(source, fn)
        return original(self, fn, *args, **kwargs)

    return submit


def mapping(source: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """A ``map`` that submits chunks, in which the function is called for each element."""

    @functools.wraps(original)
    def map_calls(self: Any, fn: Any, *iterables: Any, **kwargs: Any) -> Any:
        return original(self, hand_over(source, fn), *iterables, **kwargs)

    return map_calls
