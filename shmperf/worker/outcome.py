"""
How a call ended, by the exception that it ended with.

A call that is told to stop has not failed, whoever's library tells it: asyncio, trio, gevent, …
Their classes are known through the modules that are loaded; nothing of theirs is imported. What
counts is an exception's type, and not the class that it claims to be of, which is foreign code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, TypeGuard

from shmperf.shm.record import Outcome

__all__ = ["is_text", "status_for", "status_named"]

# asyncio alone costs 35 ms to import: whoever raises its errors has imported it.
_CLASSES = (
    ("asyncio.exceptions", "CancelledError", Outcome.CANCELLED),
    ("concurrent.futures._base", "CancelledError", Outcome.CANCELLED),
    ("trio", "Cancelled", Outcome.CANCELLED),
    ("trio", "TooSlowError", Outcome.TIMEOUT),
    # Thrown into a call by whoever gave it that much time, as the others' cancellations are.
    ("gevent.timeout", "Timeout", Outcome.CANCELLED),
    ("eventlet.timeout", "Timeout", Outcome.CANCELLED),
    ("greenlet", "GreenletExit", Outcome.CANCELLED),
    ("curio.errors", "CancelledError", Outcome.CANCELLED),
    ("twisted.internet.defer", "CancelledError", Outcome.CANCELLED),
)
_NAMED = {
    "TimeoutError": Outcome.TIMEOUT,
    "timeout": Outcome.TIMEOUT,
    "CancelledError": Outcome.CANCELLED,
    "Cancelled": Outcome.CANCELLED,
    "cancelled": Outcome.CANCELLED,
    "GreenletExit": Outcome.CANCELLED,
    "TooSlowError": Outcome.TIMEOUT,
    "SoftTimeLimitExceeded": Outcome.TIMEOUT,
    # A tool that is put off until somebody has answered: it has not failed.
    "ApprovalRequired": Outcome.CANCELLED,
    "CallDeferred": Outcome.CANCELLED,
    "GraphInterrupt": Outcome.CANCELLED,
}
_NO_ERRORS = frozenset({Outcome.OK, Outcome.CANCELLED})
# Of a group no more are looked at.
_MOST_LEAVES = 1_000


def is_text(error: object) -> TypeGuard[str]:
    """True of an error that is told by a text, and not by an exception."""
    return issubclass(type(error), str)


def status_for(error: BaseException | None) -> int:
    """The outcome of a call that ended with *error*."""
    if error is None:
        return Outcome.OK
    if issubclass(type(error), BaseExceptionGroup):
        # What trio's nurseries raise when they are told to stop.
        is_stopped = all(_status_of_one(leaf) in _NO_ERRORS for leaf in _leaves(error))
        return Outcome.CANCELLED if is_stopped else Outcome.ERROR
    return _status_of_one(error)


def _status_of_one(error: Any) -> int:
    if issubclass(type(error), TimeoutError):
        return Outcome.TIMEOUT
    if issubclass(type(error), SystemExit):
        code = error.code
        is_fine = code is None or (isinstance(code, int) and int(code) == 0)
        return Outcome.OK if is_fine else Outcome.ERROR
    for module, name, outcome in _CLASSES:
        known = getattr(sys.modules.get(module), name, None)
        if isinstance(known, type) and issubclass(type(error), known):
            return outcome
    return Outcome.ERROR


def _leaves(group: BaseException) -> Iterator[BaseException]:
    left: list[Any] = [group]
    for _ in range(_MOST_LEAVES):
        if not left:
            break
        error = left.pop()
        if issubclass(type(error), BaseExceptionGroup):
            left.extend(error.exceptions[:_MOST_LEAVES])
        else:
            yield error
    # What nobody has looked at may be an error.
    yield from left[:1]


def status_named(error: str) -> int:
    """The outcome of a call that ended with *error*, a text that opens with the error's class."""
    name = error.partition(":")[0].rpartition(".")[2]
    return _NAMED.get(name, Outcome.ERROR)
