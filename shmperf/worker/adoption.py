"""
Carrying the current call to where contexts don't reach: threads, executors, other processes.

A parent is named by its id, within a session, or by a ``traceparent`` (see `traceparent`), from
anywhere else: that is taken up, and has an id like all others from then on.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import ContextDecorator
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from .context import Loose, Pair, current, current_call, hex_id, outermost_open, parent_in
from .failures import is_programs
from .frames import ends_in_order
from .process import worker
from .traceparent import parse_traceparent

__all__ = ["adopt", "carried", "held", "mentioned", "propagate"]

P = ParamSpec("P")
R = TypeVar("R")


class adopt(ContextDecorator):  # noqa: N801  used like a function: ``with adopt(parent):``
    """
    Run a block under *parent*, an id from `current` in another thread or process of the session.

    Or under a span of somebody else's, by its W3C ``traceparent``: calls that begin here, and have
    no other parent, belong to that trace, wherever they are exported to. None, or a text that is
    neither, means no parent: none is better than a wrong one. A block may end in another context
    than it began in, as a generator's may. Raises nothing, whatever *parent* is.
    """

    def __init__(self, parent: str | None) -> None:
        self._parent = parent
        self._outer: int | Pair = 0
        self._loose: Loose | None = None
        # A context from elsewhere that keeps its place until the block ends.
        self._held = 0

    def __enter__(self) -> None:
        call_id, self._outer = parent_in(self._parent), current_call.get()
        if not call_id and self._parent:
            call_id = self._held = held(self._parent)
        if ends_in_order(sys._getframe(1), awaited=False):
            current_call.set(call_id)
        else:
            self._loose = Loose(call_id, self._outer)
            self._loose.enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        held, self._held = self._held, 0
        if held:
            worker.remotes.release(held)
        loose = self._loose
        if loose is not None:
            loose.is_open = False
            if current_call.get() is not loose:
                return
        current_call.set(outermost_open(self._outer))

    def _recreate_cm(self) -> adopt:
        # As a decorator: one for each call of the function.
        return adopt(self._parent)


def held(text: object) -> int:
    """
    An id for the context that *text*, a ``traceparent``, names; 0 when it names none.

    Calls that have it as their parent are in that trace, until `worker.remotes.release`.
    """
    try:
        remote = parse_traceparent(text)
        if remote is None or worker.is_off or not worker.start():
            return 0
        return worker.remotes.hold(remote)
    except Exception as error:
        # A failure of ours: no parent.
        if is_programs(error):
            raise
        worker.faults.note(error)
        return 0


def mentioned(text: object) -> str | None:
    """
    The id of the span of somebody else's that *text*, a ``traceparent``, names; None for none.

    For the parent of a call that is begun at once: what it stands for is known until many others
    have been taken up.
    """
    remote = parse_traceparent(text)
    if remote is None or worker.is_off or not worker.start():
        return None
    context_id = worker.remotes.mention(remote)
    return hex_id(context_id) if context_id else None


def propagate(function: Callable[P, R]) -> Callable[P, R]:
    """
    *function* as a callable that runs under the caller's current call, wherever it is called.

    For threads, executors and other processes: it pickles when *function* does.
    """
    return _Propagated(function, current())


def carried(function: object) -> tuple[Callable[..., Any], str | None] | None:
    """The callable and the parent of what `propagate` made; None for others."""
    if type(function) is not _Propagated:
        return None
    return function._function, function._parent


class _Propagated:
    def __init__(self, function: Callable[..., Any], parent: str | None) -> None:
        functools.update_wrapper(self, function, updated=())
        self._function = function
        self._parent = parent

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with adopt(self._parent):
            return self._function(*args, **kwargs)

    def __reduce__(self) -> Any:
        return _Propagated, (self._function, self._parent)
