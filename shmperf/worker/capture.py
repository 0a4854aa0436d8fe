"""
Parameters, errors and metadata of a call as bytes, in the worker, at bounded cost.

In normal mode a summary is all that is kept, so no more of a value is looked at than the summary
can show: a 50 MB string costs what a short one does. What is looked at goes to msgpack as it is;
secrets are masked later, by the collector, before anything leaves the user's shared memory.

Values that msgpack does not know appear as their ``repr``. That is foreign code: it may raise,
which is counted, and the call goes on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from shmperf.shm.record import BODY_BYTES, NAMED, PRUNED, SUMMARY_CHARACTERS

__all__ = [
    "PLAIN_TYPES",
    "SHORT",
    "SHORT_ALONE",
    "Cut",
    "Picture",
    "error_class",
    "error_text",
    "failed_body",
    "picture",
    "picture_all",
    "positional_names",
    "short_body",
]

PLAIN_TYPES = frozenset({int, float, bool, type(None)})
SHORT = 48
SHORT_ALONE = 160
_FEW = 12
_CONTAINERS = frozenset({dict, list, tuple})
_BYTES = frozenset({bytes, bytearray, memoryview})
_SEQUENCES = (list, tuple, set, frozenset)

_REPR_CHARACTERS = 2_000
_ERROR_CHARACTERS = 10_000
# With the quotes and names of JSON this fills a summary, and it fits into one slot.
_SUMMARY_BUDGET = SUMMARY_CHARACTERS - 4
_DEPTH = 6
_DEPTH_ALL = 40
_UNBOUNDED = 1 << 62
_INT_BITS = 63
_SHOWN_INT_BITS = 1024

# What others tell of an error may be no more than its name.
_encode = msgspec.msgpack.Encoder().encode
_msgpack = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode


def _plain(text: str) -> str:
    """*text* as a str proper: a subclass, which ``repr`` and ``str`` may give, is foreign code."""
    return str.__str__(text) if type(text) is str else str.__getitem__(text, slice(None))


class Picture(NamedTuple):
    """Encoded parameters, the record flags that describe them, and how many reprs failed."""

    body: bytes
    flags: int
    failures: int = 0


class Cut(bytes):
    """Encoded parameters of which a string was too long to be taken whole."""


class _Walk:
    """One bounded copy of a value, of what can be encoded, in the order in which it is shown."""

    __slots__ = ("budget", "depth", "failures", "pruned", "repr_characters")

    def __init__(self, budget: int, depth: int, repr_characters: int) -> None:
        self.budget = budget
        self.depth = depth
        self.repr_characters = repr_characters
        self.failures = 0
        self.pruned = False

    def copy(self, value: Any, depth: int = 0) -> Any:
        """A copy of *value* in plain types; what lies beyond the budget is left out."""
        # The type and not isinstance: proxies and mocks claim to be of a class that they are not.
        kind = type(value)
        if kind is bool or value is None or kind is float:
            self.budget -= 6
            return value
        if issubclass(kind, str):
            return self._text(value)
        if kind is int:
            return self._number(value)
        if kind in _BYTES:
            return self._bytes(value)
        if depth >= self.depth:
            self.pruned = True
            return "…"
        if issubclass(kind, dict):
            return self._mapping(dict.items(value), depth)
        if issubclass(kind, _SEQUENCES):
            return self._members(value, depth)
        return self.shown(value)

    def shown(self, value: Any) -> str:
        """The bounded ``repr`` of an object that msgpack does not know."""
        return self._text(self._repr(value))

    def _bytes(self, value: Any) -> str:
        size = max(1, min(self.budget, self.repr_characters))
        try:
            self.pruned = self.pruned or len(value) > size
            return self._text(repr(bytes(value[:size])))
        except (TypeError, ValueError, NotImplementedError):  # a view of a scalar, or released
            return self.shown(value)

    def _members(self, value: Any, depth: int) -> Any:
        try:
            members = iter(value)
        except Exception:  # noqa: BLE001  foreign code: a subclass may iterate as it likes
            return self.shown(value)
        return self._sequence(members, depth)

    def _text(self, value: str) -> str:
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

    def _number(self, value: int) -> int | str:
        bits = value.bit_length()
        self.budget -= 1 + min(bits, _SHOWN_INT_BITS // 10) // 4
        if bits <= _INT_BITS:
            return value
        return self._text(str(value) if bits <= _SHOWN_INT_BITS else f"<int of {bits} bits>")

    def _mapping(self, members: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, member in members:
            if self.budget <= 0:
                self.pruned = True
                break
            name = self._text(key if issubclass(type(key), str) else self._repr(key))
            found[name] = self.copy(member, depth + 1)
            self.budget -= 2
        return found

    def _sequence(self, members: Iterable[Any], depth: int) -> list[Any]:
        found = []
        for member in members:
            if self.budget <= 0:
                self.pruned = True
                break
            found.append(self.copy(member, depth + 1))
            self.budget -= 2
        return found

    def _repr(self, value: Any) -> str:
        try:
            text = _plain(repr(value))
        except Exception:  # noqa: BLE001  foreign code: whatever it raises is its own affair
            self.failures += 1
            return f"<{type(value).__name__}: repr failed>"
        if len(text) > self.repr_characters:
            self.pruned = True
        return text[: self.repr_characters]


def short_body(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | None:
    """
    Parameters encoded as they are, when a look says that they are short; else None.

    Looks one level into dicts, lists and tuples: what most tools get costs a third of a `picture`.
    Strings beside them that are too long are cut to what a summary shows, and the body is a `Cut`.
    """
    has_long = is_cut = False
    for value in args:
        if not _is_short(value):
            if type(value) is not str:
                return None
            has_long = True
    for value in kwargs.values():
        if not _is_short(value):
            if type(value) is not str:
                return None
            has_long = True
    if has_long:
        args, kwargs, is_cut = _with_strings_cut(args, kwargs)
    try:
        body = _encode((args, kwargs) if args and kwargs else (kwargs or args))
    except (OverflowError, ValueError):
        return None
    if len(body) > BODY_BYTES:
        return None
    return Cut(body) if is_cut else body


def _with_strings_cut(
    args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """Both with their strings as a summary has room for them in turn, and whether any was cut."""
    room, is_cut = _SUMMARY_BUDGET, False
    shown = []
    for value in (*args, *kwargs.values()):
        if type(value) is str:
            is_cut = is_cut or len(value) > room
            value = value[: max(room, 0)]  # noqa: PLW2901  what is shown of it
            room -= len(value)
        shown.append(value)
    return tuple(shown[: len(args)]), dict(zip(kwargs, shown[len(args) :], strict=True)), is_cut


def _is_short(value: Any) -> bool:
    kind = type(value)
    if kind in PLAIN_TYPES:
        return True
    if kind is str:
        return len(value) <= SHORT_ALONE
    if kind not in _CONTAINERS or len(value) > _FEW:
        return False
    if kind is dict:
        for key in value:
            if type(key) is not str or len(key) > SHORT:
                return False
        value = value.values()
    for member in value:
        inner = type(member)
        if inner not in PLAIN_TYPES and (inner is not str or len(member) > SHORT):
            return False
    return True


def picture(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Picture:
    """The summary's share of a call's parameters; never more than a few slots."""
    walk = _Walk(_SUMMARY_BUDGET, _DEPTH, SUMMARY_CHARACTERS)
    return _encoded(args, kwargs, walk)


def picture_all(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Picture:
    """All of a call's parameters, whatever their size."""
    walk = _Walk(_UNBOUNDED, _DEPTH_ALL, _REPR_CHARACTERS)
    flags = NAMED if args and kwargs else 0
    try:
        body = _msgpack([args, kwargs] if flags else (kwargs or args), enc_hook=walk.shown)
        _decode(
            body
        )  # what encodes must also decode: msgspec takes keys that it does not give back
    except (TypeError, ValueError, OverflowError, BufferError, RuntimeError):
        return _encoded(args, kwargs, walk)
    return Picture(body, flags, walk.failures)


def _encoded(args: tuple[Any, ...], kwargs: Mapping[str, Any], walk: _Walk) -> Picture:
    flags = 0
    if not kwargs:
        value: Any = walk.copy(args)
    elif not args:
        value = walk.copy(kwargs)
    else:
        flags = NAMED
        value = [walk.copy(args), walk.copy(kwargs)]
    body = _encode(value)
    return Picture(body, flags | (PRUNED if walk.pruned else 0), walk.failures)


def error_class(error: BaseException) -> str:
    """The class of *error* as people name it."""
    return type(error).__qualname__[:SUMMARY_CHARACTERS]


def error_text(error: BaseException | str) -> str:
    """The whole text of *error*, bounded; its ``str`` is foreign code."""
    try:
        text = _plain(str(error))
    except Exception:  # noqa: BLE001  foreign code
        text = "<str failed>"
    return text[:_ERROR_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def failed_body(body: bytes, error: str, *caught: str) -> bytes:
    """
    The body of a failed call: its parameters and the class of its error.

    Of one that was *caught*, message, fingerprint and place as well.
    """
    params = msgspec.Raw(body) if body else None
    failed = _encode((params, error.encode("utf-8", "backslashreplace").decode(), *caught))
    return failed if len(failed) <= BODY_BYTES * 64 else _encode((None, "…", *caught))


def positional_names(function: Callable[..., Any]) -> tuple[tuple[str, ...], str | None, bool]:
    """Names of the positional parameters, of the rest, and whether the first is self or cls."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return (), None, False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in kinds]
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), None)
    skip = bool(names) and names[0] in ("self", "cls")
    return tuple(names[skip:]), rest, skip
