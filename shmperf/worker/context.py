"""
Whose call this is: the current call of a context, and carrying it to where contexts don't reach.

The current call lives in a ``ContextVar``, which asyncio tasks and ``to_thread`` inherit, and new
threads, executors and processes do not: for those there are `adopt` and `propagate`. It holds the
id of a call, 0 for none, or the `Pair` of a start without an end yet: such a call may end in
another thread or task, or before calls that began inside it, so whoever finds it asks whether it
is still open. A hot path that stores the value as a word notices a Pair by the TypeError, and pays
nothing otherwise.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from itertools import count
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar

from shmperf.shm.inflight import FIRST_UNRECORDED

from .frames import ends_in_order
from .gcwatch import is_collecting

__all__ = [
    "TRACKED",
    "Loose",
    "Pair",
    "Seen",
    "adopt",
    "carried",
    "current",
    "current_call",
    "hex_id",
    "next_unrecorded",
    "outermost_open",
    "parent_in",
    "parent_of",
    "parse_id",
    "propagate",
]

_DIGITS = frozenset("0123456789abcdef")

P = ParamSpec("P")
R = TypeVar("R")


class Pair:
    """A call between its start and its end, which may happen in different contexts."""

    __slots__ = ("call_id", "is_open", "outer")

    def __init__(self, call_id: int, outer: int | Pair) -> None:
        self.call_id = call_id
        self.outer = outermost_open(outer)
        self.is_open = True

    def has_passed(self) -> bool:
        """True when the call, which has ended, is nobody's parent any more in this context."""
        return True


class Loose(Pair):
    """
    A call that lasts for a block, a coroutine or the like that may end anywhere.

    Once it has ended it is nobody's parent in the context in which it began, wherever and in
    whatever order it ended. Copies of that context, those of tasks and threads that began inside
    it, keep it: they outlive it. A token tells one from the other.
    """

    __slots__ = ("_token",)

    _token: Token[int | Pair]

    def enter(self) -> None:
        """Make the call current in this context, which is its own from now on."""
        self._token = current_call.set(self)

    def has_passed(self) -> bool:
        """True in its own context."""
        if is_collecting():
            return True
        now = current_call.get()
        try:
            current_call.reset(self._token)
        except ValueError:
            return False
        except (AttributeError, RuntimeError):
            # None yet, or used: who made it or asked before was struck in the middle.
            return True
        self._token = current_call.set(now)
        return True


# The observer that decorators are; a framework's hook has a name of its own.
TRACKED = "track"


class Seen(Pair):
    """
    A call that a framework's hook has begun, and which observers have seen it.

    A decorated function, a second hook or a span that begins *the same tool directly beneath* is
    another sight of this call, once for each observer; what comes after that is a call of its own.
    An observer that may see one call several times over gives a *key* by which it knows it again.
    """

    __slots__ = ("_observers", "tool")

    def __init__(self, call_id: int, outer: int | Pair, tool: str, *observers: str) -> None:
        """A call of *tool* that began under *outer*."""
        super().__init__(call_id, outer)
        self.tool = tool
        self._observers: dict[str, object] = dict.fromkeys(observers)

    def is_seen_by(self, observer: str, tool: str, key: object = None) -> bool:
        """True when the call of *tool* that *observer* begins now is this one, seen again."""
        if tool != self.tool or not self.is_open:
            return False
        mine = object() if key is None else key
        found = self._observers.setdefault(observer, mine)
        return found is mine or (key is not None and found == key)


current_call: ContextVar[int | Pair] = ContextVar("shmperf_current_call", default=0)


def outermost_open(value: int | Pair) -> int | Pair:
    """*value*, or what was current when it started if it has ended since."""
    while isinstance(value, Pair) and not value.is_open and value.has_passed():
        value = value.outer
    return value


def parent_of(value: int | Pair) -> int:
    """The id that a call started under *value* has as its parent; 0 for none."""
    value = outermost_open(value)
    call_id = value.call_id if isinstance(value, Pair) else value
    return call_id if call_id < FIRST_UNRECORDED else 0


# More are not open at once.
_MOST_UNRECORDED = 1_000_000_000
_unrecorded = count()


def next_unrecorded() -> int:
    """An id for a call that gets no record."""
    return FIRST_UNRECORDED + next(_unrecorded) % _MOST_UNRECORDED


def hex_id(call_id: int) -> str:
    """An id as the history shows it."""
    return f"{call_id:016x}"


def parse_id(text: object) -> int:
    """The id in *text*, or 0 when it is none."""
    if not isinstance(text, str) or len(text) != 16 or not _DIGITS.issuperset(text):
        return 0
    return int(text, 16)


def parent_in(text: object) -> int:
    """The parent that the id in *text* stands for; 0 when it is none, or of no recorded call."""
    call_id = parse_id(text)
    return call_id if call_id < FIRST_UNRECORDED else 0


def current() -> str | None:
    """The id of the call that runs in this context, or None."""
    call_id = parent_of(current_call.get())
    return hex_id(call_id) if call_id else None


class adopt(ContextDecorator):  # noqa: N801  used like a function: ``with adopt(parent):``
    """
    Run a block under *parent*, an id from `current` in another thread or process.

    None, or a text that is no id, means no parent: none is better than a wrong one. A block may end
    in another context than it began in, as a generator's may.
    """

    def __init__(self, parent: str | None) -> None:
        self._parent = parent
        self._outer: int | Pair = 0
        self._loose: Loose | None = None

    def __enter__(self) -> None:
        call_id, self._outer = parent_in(self._parent), current_call.get()
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
        loose = self._loose
        if loose is not None:
            loose.is_open = False
            if current_call.get() is not loose:
                return
        current_call.set(outermost_open(self._outer))

    def _recreate_cm(self) -> adopt:
        # As a decorator: one for each call of the function.
        return adopt(self._parent)


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


class _Propagated(Generic[P, R]):
    def __init__(self, function: Callable[P, R], parent: str | None) -> None:
        functools.update_wrapper(self, function, updated=())
        self._function = function
        self._parent = parent

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        with adopt(self._parent):
            return self._function(*args, **kwargs)

    def __reduce__(self) -> Any:
        return _Propagated, (self._function, self._parent)
