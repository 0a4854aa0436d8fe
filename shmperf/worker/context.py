"""
Whose call this is: the current call of a context.

The current call lives in a ``ContextVar``, which asyncio tasks and ``to_thread`` inherit, and new
threads, executors and processes do not: for those there are `adopt` and `propagate` (see
`adoption`). It holds the id of a call, or of a context from elsewhere (see `shm.remote`), 0 for
none, or the `Pair` of a start without an end yet: such a call may end in
another thread or task, or before calls that began inside it, so whoever finds it asks whether it
is still open. A hot path that stores the value as a word notices a Pair by the TypeError, and pays
nothing otherwise.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from itertools import count

from shmperf.shm.inflight import FIRST_UNRECORDED
from shmperf.shm.remote import is_remote

from .gcwatch import is_collecting

__all__ = [
    "TRACKED",
    "Loose",
    "Pair",
    "Seen",
    "current",
    "current_call",
    "hex_id",
    "next_unrecorded",
    "outermost_open",
    "parent_in",
    "parent_of",
    "parse_id",
    "remote_above",
]

_DIGITS = frozenset("0123456789abcdef")


class Pair:
    """A call between its start and its end, which may happen in different contexts."""

    __slots__ = ("call_id", "is_open", "outer")

    def __init__(self, call_id: int, outer: int | Pair) -> None:
        self.call_id = call_id
        self.outer = outer if type(outer) is int else outermost_open(outer)
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
    if not isinstance(value, Pair):
        return value if value < FIRST_UNRECORDED else 0
    return value.call_id if value.call_id < FIRST_UNRECORDED else remote_above(value.outer)


def remote_above(value: int | Pair) -> int:
    """The context from elsewhere that *value* is; 0 when it is a call's, or nothing."""
    found = parent_of(value)
    return found if is_remote(found) else 0


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
    """The id of the call that runs in this context, or of what it has adopted; None for neither."""
    call_id = parent_of(current_call.get())
    return hex_id(call_id) if call_id else None
