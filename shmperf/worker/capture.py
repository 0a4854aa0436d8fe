"""
Parameters, errors and metadata of a call as bytes, in the worker, at bounded cost.

In normal mode a summary is all that is kept, so no more of a value is looked at than the summary
can show: a 50 MB string costs what a short one does. What is looked at goes to msgpack as it is;
secrets are masked later, by the collector, before anything leaves the user's shared memory.

What msgpack does not know, or would show without the names of its fields, is walked (see `walk`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from shmperf.shm.record import BODY_BYTES, NAMED, PRUNED, SUMMARY_CHARACTERS

from .display import args_of, class_name, found_in
from .failures import is_handlers
from .walk import BYTES, NATIVE, Walk, plain_text

__all__ = [
    "FEW",
    "PLAIN_TYPES",
    "SHORT",
    "SHORT_ALONE",
    "SUMMARY_BUDGET",
    "Cut",
    "Picture",
    "error_class",
    "error_text",
    "failed_body",
    "picture",
    "picture_all",
    "short_body",
]

PLAIN_TYPES = frozenset({int, float, bool, type(None)})
SHORT = 48
SHORT_ALONE = 160
FEW = 12
_CONTAINERS = frozenset({dict, list, tuple})

_REPR_CHARACTERS = 2_000
_ERROR_CHARACTERS = 10_000
# With the quotes and names of JSON this fills a summary, and it fits into one slot.
SUMMARY_BUDGET = SUMMARY_CHARACTERS - 4
_DEPTH = 6
_DEPTH_ALL = 40
_DEEPEST = 400
_MANY, _LARGE = 1 << 25, 256
# So many bytes of a text count as one member; with them `_MANY` is 256 MiB.
_TEXT_SHIFT = 3
_MOST_CHARACTERS = _MANY << _TEXT_SHIFT
# From here on it is asked first whether there is memory for it; what encoding takes at most, for
# each member and for each character, while a buffer grows.
_WEIGHED = 1 << 17
_MEMBER_BYTES, _CHARACTER_BYTES = 48, 8

_encode = msgspec.msgpack.Encoder().encode
# What msgpack has a form for, whatever it holds; and what holds others.
_LEAVES = PLAIN_TYPES | BYTES | NATIVE | {str}
_TEXTS = BYTES | {str}
_MAPS = frozenset({dict, OrderedDict, defaultdict, Counter})
_HOLDERS = _CONTAINERS | _MAPS | {set, frozenset}
_KEYS = frozenset({str, int})


class Picture(msgspec.Struct, frozen=True):
    """Encoded parameters, the record flags that describe them, and how many reprs failed."""

    body: bytes
    flags: int
    failures: int = 0


class Cut(bytes):
    """Encoded parameters of which a string was too long to be taken whole."""


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
    except (OverflowError, ValueError) as error:
        if is_handlers(error):
            raise
        return None
    if len(body) > BODY_BYTES:
        return None
    return Cut(body) if is_cut else body


def _with_strings_cut(
    args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """Both with their strings as a summary has room for them in turn, and whether any was cut."""
    room, is_cut = SUMMARY_BUDGET, False
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
    if kind not in _CONTAINERS or len(value) > FEW:
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
    walk = Walk(SUMMARY_BUDGET, _DEPTH, SUMMARY_CHARACTERS)
    return _encoded(args, kwargs, walk)


def picture_all(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Picture:
    """
    All of a call's parameters, whatever their size, up to 256 MiB of text, and as far as a second
    goes where they have to be walked; the summary's share where there is no memory for all.
    """
    try:
        return _picture_of_all(args, kwargs)
    except MemoryError as error:
        if is_handlers(error):
            raise
        return picture(args, kwargs)


def _picture_of_all(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Picture:
    flags = NAMED if args and kwargs else 0
    value: Any = [args, kwargs] if flags else (kwargs or args)
    try:
        sizes = {0: 0}
        size = _plain_size(value, _DEEPEST, sizes)
        # What refers to the same lists or texts over and over is endless when it is written out.
        if size and (size < _MANY or size < _LARGE * sizes[0]):
            _make_sure_of(size * _MEMBER_BYTES)
            return Picture(_encode(value), flags)
    except MemoryError:
        raise
    except Exception as error:
        # Too large a number, somebody's time zone, no more stack.
        if is_handlers(error):
            raise
    walk = Walk(_MOST_CHARACTERS, _DEPTH_ALL, _REPR_CHARACTERS, is_whole=True)
    return _encoded(args, kwargs, walk)


def _make_sure_of(size_bytes: int) -> None:
    """MemoryError unless there is that much memory; where msgspec finds none, the process ends."""
    if size_bytes > _WEIGHED * _MEMBER_BYTES:
        # Nothing of it is touched, so nothing is taken.
        bytes(size_bytes)


def _plain_size(value: Any, levels: int, sizes: dict[int, int]) -> int:
    """
    How many members msgpack writes of *value*, a container, as they are; 0 when not all. A long
    text counts as several.

    It takes structures and named tuples too, but some without the names that tell secrets.
    *sizes* are those of large containers, by id, and under 0 how many members they have themselves.
    """
    members = value
    if type(value) in _MAPS:
        if not _KEYS.issuperset(map(type, value)):
            return 0
        members = value.values()
    size = own = len(value) + 1
    if id(value) in sizes:
        return sizes[id(value)]
    if size > FEW and _LEAVES.issuperset(kinds := set(map(type, members))):
        size += 0 if kinds.isdisjoint(_TEXTS) else _length(members) >> _TEXT_SHIFT
        members = ()
    for member in members:
        kind = type(member)
        if kind in _LEAVES:
            size += len(member) >> _TEXT_SHIFT if kind in _TEXTS else 0
            continue
        inner = _plain_size(member, levels - 1, sizes) if levels and kind in _HOLDERS else 0
        if not inner:
            return 0
        size += inner
    if size > _LARGE:
        sizes[id(value)] = size
        sizes[0] += own
    return size


def _length(members: Collection[Any]) -> int:
    """Of all texts among *members*."""
    if _TEXTS.issuperset(map(type, members)):
        return sum(map(len, members))
    return sum(len(member) for member in members if type(member) in _TEXTS)


def _encoded(args: tuple[Any, ...], kwargs: Mapping[str, Any], walk: Walk) -> Picture:
    flags = 0
    if not kwargs:
        value: Any = walk.copy(args)
    elif not args:
        value = walk.copy(kwargs)
    else:
        flags = NAMED
        value = [walk.copy(args), walk.copy(kwargs)]
    if walk.is_whole:
        _make_sure_of((_MOST_CHARACTERS - walk.budget) * _CHARACTER_BYTES)
    body = _encode(value)
    return Picture(body, flags | (PRUNED if walk.pruned else 0), walk.failures)


def error_class(error: BaseException) -> str:
    """The class of *error* as people name it."""
    return class_name(type(error))[:SUMMARY_CHARACTERS]


def error_text(error: BaseException | str) -> str:
    """The text of *error*, bounded; its ``str`` is foreign code."""
    try:
        text = plain_text(_told(error))
    except Exception as failure:
        # Foreign code.
        if is_handlers(failure):
            raise
        text = "<str failed>"
    return text[:_ERROR_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def _told(error: Any) -> str:
    """What *error* says; of large objects that it holds, as much as is kept."""
    kind = type(error)
    if issubclass(kind, str) or found_in(kind, "__str__") is not BaseException.__str__:
        return str(error)
    held = args_of(error)
    if all(type(one) is str or _is_short(one) for one in held):
        return str(error)
    shown = Walk(_ERROR_CHARACTERS, _DEPTH, _REPR_CHARACTERS).sequence(held, 0)
    return str(shown[0] if len(shown) == 1 else tuple(shown))


def failed_body(body: bytes, error: str, *caught: str) -> bytes:
    """
    The body of a failed call: its parameters and the class of its error.

    Of one that was *caught*, message, fingerprint and place as well.
    """
    params = msgspec.Raw(body) if body else None
    failed = _encode((params, error.encode("utf-8", "backslashreplace").decode(), *caught))
    return failed if len(failed) <= BODY_BYTES * 64 else _encode((None, "…", *caught))
