"""
One bounded copy of a value, in types that msgpack knows, in the order in which it is shown.

No more is looked at than there is room for: a container of a million members costs what its first
few do. What a type's values are made of is told by `display`; a ``repr`` is foreign code that may
raise, which is counted, and the call goes on.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from shmperf.stdlib import perf_counter_ns

from .display import show_of, type_text
from .failures import is_handlers

__all__ = ["BYTES", "NATIVE", "Walk", "plain_text"]

_INT_BITS = 63
_SHOWN_INT_BITS = 1024

_MOST_REPEATS = 100_000
_LONGEST_NS = 1_000_000_000

BYTES = frozenset({bytes, bytearray, memoryview})
# What msgpack has a form for beside the plain types; only of these exact types.
NATIVE = frozenset({dt.datetime, dt.date, dt.time, dt.timedelta} | {decimal.Decimal, uuid.UUID})
_KEYS = frozenset({int, float, bool, type(None), str})
_encode = msgspec.msgpack.Encoder().encode


def plain_text(text: str) -> str:
    """*text* as a str proper: a subclass, which ``repr`` and ``str`` may give, is foreign code."""
    return str.__str__(text) if type(text) is str else str.__getitem__(text, slice(None))


class Walk:
    """What is taken of a value, and what that cost."""

    __slots__ = (
        "budget",
        "clock",
        "deadline_ns",
        "depth",
        "failures",
        "holder",
        "is_whole",
        "pruned",
        "repr_characters",
        "seen",
        "visits",
    )

    def __init__(
        self,
        budget: int,
        depth: int,
        repr_characters: int,
        *,
        is_whole: bool = False,
        clock: Callable[[], int] = perf_counter_ns,
    ) -> None:
        """
        At most about *budget* characters and *depth* levels are taken, of a ``repr`` so many.

        *is_whole*: all is wanted, as msgpack has it, and not what people read.
        """
        self.budget = budget
        self.depth = depth
        self.repr_characters = repr_characters
        self.is_whole = is_whole
        self.clock = clock
        # Where all is wanted, what takes longer is cut: the tool waits for it.
        self.deadline_ns = clock() + _LONGEST_NS if is_whole else None
        self.failures = 0
        self.pruned = False
        # Whose members come next; all such by id, which keeps them where they are; how many came.
        self.holder: Any = None
        self.seen: dict[int, Any] = {}
        self.visits = 0

    def copy(self, value: Any, depth: int = 0) -> Any:
        """A copy of *value* in plain types; what lies beyond the budget is left out."""
        # The type and not isinstance: proxies and mocks claim to be of a class that they are not.
        kind = type(value)
        if kind is bool or value is None or kind is float:
            self.budget -= 6
            return value
        if issubclass(kind, str):
            return self.text(value)
        if kind is int:
            return self._number(value)
        return self._bytes(value) if kind in BYTES else self._held(value, kind, depth)

    def _held(self, value: Any, kind: type, depth: int) -> Any:
        if depth >= self.depth:
            self.pruned = True
            return "…"
        self.holder = value
        if kind is list or kind is tuple:
            return self.sequence(value, depth)
        if self.is_whole and kind in NATIVE:
            return self._native(value)
        try:
            return show_of(kind)(self, value, depth)
        except Exception as error:
            # Foreign code: an odd class is shown by its name.
            if is_handlers(error):
                raise
            self.failures += 1
            return self.text(type_text(kind))

    def _is_endless(self) -> bool:
        """
        True when what holds the next members was seen before, as others were too often.

        Objects that know each other hold each other by more ways than can be written down. Where
        not all is wanted the budget ends it.
        """
        holder, self.holder = self.holder, None
        if self.is_whole and self.seen.setdefault(id(holder), holder) is holder:
            self.visits += 1
            self.pruned = self.pruned or self.visits > len(self.seen) + _MOST_REPEATS
            return self.visits > len(self.seen) + _MOST_REPEATS
        return False

    def _is_over(self) -> bool:
        """True when there is no room for another member, or no time."""
        if self.deadline_ns is not None and self.clock() > self.deadline_ns:
            self.budget = min(self.budget, 0)
        self.pruned = self.pruned or self.budget <= 0
        return self.budget <= 0

    # --- what values are made of (see `display`) -------------------------------------------------

    def text(self, value: str) -> str:
        """*value* as far as there is room, in characters that have bytes."""
        room = max(1, self.budget)
        if str.__len__(value) > room:
            self.pruned = True
        text = str.__getitem__(value, slice(0, room))
        self.budget -= len(text) + 2
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-8", "backslashreplace").decode()
        return text

    def mapping(self, members: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        """Names and values, as many as there is room for."""
        found: dict[str, Any] = {}
        if self._is_endless():
            return found
        try:
            for key, member in members:
                if self._is_over():
                    break
                name = self.text(key if issubclass(type(key), str) else self._key(key, depth))
                found[name] = self.copy(member, depth + 1)
                self.budget -= 2
        except RuntimeError as error:
            # Another thread has changed it meanwhile.
            if is_handlers(error):
                raise
            self.pruned = True
        return found

    def sequence(self, members: Iterable[Any], depth: int) -> list[Any]:
        """Members, as many as there is room for."""
        found: list[Any] = []
        if self._is_endless():
            return found
        try:
            for member in members:
                if self._is_over():
                    break
                found.append(self.copy(member, depth + 1))
                self.budget -= 2
        except RuntimeError as error:
            # Another thread has changed it meanwhile.
            if is_handlers(error):
                raise
            self.pruned = True
        return found

    def numbers(self, array: Any) -> Any:
        """The numbers, or characters, of an ``array.array``."""
        some = array if self.is_whole else array[: max(1, self.budget)]
        return self.copy(some.tolist())

    def octets(self, value: Any, kind: Any) -> Any:
        """The bytes of a subclass of *kind*, whatever it makes of its methods."""
        size = None if self.is_whole else max(1, self.budget) + 1
        return self._bytes(bytes(kind.__getitem__(value, slice(0, size))))

    def member_of(self, value: Any) -> Any:
        """A member of an enumeration: its value, or for people its ``repr``."""
        if self.is_whole and type(value._value_) in _KEYS:
            return self.copy(value._value_)
        return self.foreign(value)

    def foreign(self, value: Any) -> str:
        """The bounded ``repr`` of an object that msgpack does not know."""
        try:
            text = plain_text(repr(value))
        except Exception as error:
            # Foreign code: whatever it raises is its own affair.
            if is_handlers(error):
                raise
            self.failures += 1
            text = f"<{type(value).__name__}: repr failed>"
        if len(text) > self.repr_characters:
            self.pruned = True
        return self.text(text[: self.repr_characters])

    # --- leaves ----------------------------------------------------------------------------------

    def _native(self, value: Any) -> Any:
        try:
            _encode(value)
        except Exception as error:
            # Foreign code: a time zone.
            if is_handlers(error):
                raise
            return self.foreign(value)
        return value

    def _bytes(self, value: Any) -> Any:
        size = max(1, min(self.budget, self.repr_characters))
        try:
            if self.is_whole:
                return self._whole(value)
            length = value.nbytes if type(value) is memoryview else len(value)
            if length > size and type(value) is memoryview and value.ndim != 1:
                return self.text(f"<memoryview shape={value.shape} format={value.format}>")
            self.pruned = self.pruned or length > size
            return self.text(repr(bytes(value[:size])))
        except (TypeError, ValueError, NotImplementedError) as error:
            # A view of a scalar, or released.
            if is_handlers(error):
                raise
            return self.foreign(value)

    def _whole(self, value: Any) -> bytes:
        """The bytes of *value*, as far as there is room."""
        held = bytes(value)
        room = max(1, self.budget)
        self.pruned = self.pruned or len(held) > room
        self.budget -= min(len(held), room) + 2
        return held[:room]

    def _number(self, value: int) -> int | str:
        bits = value.bit_length()
        self.budget -= 1 + min(bits, _SHOWN_INT_BITS // 10) // 4
        if bits <= _INT_BITS:
            return value
        return self.text(str(value) if bits <= _SHOWN_INT_BITS else f"<int of {bits} bits>")

    def _key(self, value: Any, depth: int) -> str:
        """A key as text: its ``repr``, but of no more members than there is room for."""
        kind, budget = type(value), self.budget
        try:
            if kind is tuple:
                self.holder = value
                return repr(tuple(self.sequence(value, depth)))
            return str(self.copy(value, depth))
        finally:
            # Who asks takes the text from its budget.
            self.budget = budget
