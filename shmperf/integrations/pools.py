"""
``multiprocessing.Pool`` and ``ThreadPool``: each task is a call, where the pool runs it.

Every element of ``map``, ``imap`` and ``starmap`` is a task; its queue wait begins when the whole
was handed over. The call that a killed worker was in is an aborted call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .patching import imported, replace, undo_all
from .task import hand_over

__all__ = ["attach"]

# What takes a function and what to call it with; `apply`, `map` and `starmap` differ by name only.
_METHODS = (
    "apply_async",
    "map",
    "map_async",
    "starmap",
    "starmap_async",
    "imap",
    "imap_unordered",
)


def attach() -> Callable[[], None]:
    """Have pools hand tasks over as calls, also those that exist."""
    names = [f"Pool.{name}" for name in _METHODS]
    pool = imported("multiprocessing.pool", *names, package="multiprocessing", having=">=3.11").Pool
    return undo_all(*(replace(pool, name, _handing(vars(pool)[name])) for name in _METHODS))


def _handing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def handing(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
        func = hand_over("multiprocessing", func)
        return original(self, func, *args, **kwargs)

    return handing
