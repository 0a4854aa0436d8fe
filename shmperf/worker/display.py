"""
How the values of a type are shown, decided once for each type and remembered.

    plain containers, deques, views …   their members, as many as are asked for
    dataclasses, attrs, NamedTuples,    their fields by name, so that secrets are known by these
    pydantic models, msgspec structs
    query sets, frames, tensors …       type and shape: to show more would run a query or copy data
    everything else                     its ``repr``, cut; once that took too long, only the type

No code of a value runs but its ``repr``: fields are read where they lie, in its ``__dict__`` and
slots, and the members of a subclass the way its builtin base keeps them. Libraries are known by the
names of their types; none is imported.

Why not ``isinstance``: proxies and mocks claim to be of a class that they are not, and abstract
classes run code to answer. What counts are the classes that a type really inherits from.
"""

from __future__ import annotations

import collections
import enum
import functools
import types
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from .failures import is_handlers
from .large import LARGE

if TYPE_CHECKING:
    # The walk that asks: it takes what it has room for.
    from .walk import Walk

__all__ = ["Show", "args_of", "class_name", "found_in", "show_of", "type_text"]


Show: TypeAlias = Callable[[Any, Any, int], Any]

_MOST_TYPES = 2_000
_NAME_CHARACTERS = 120
_LONGEST_REPR_NS = 1_000_000
# A repr that was quick so many times for each time it was late met a pause of the machine, which
# lasts no longer than this: else each type of a busy program would be without one some day.
_TRUST, _LONGEST_PAUSE_NS = 20, 20_000_000
_mro = type.__dict__["__mro__"].__get__
_dict = type.__dict__["__dict__"].__get__
_module = type.__dict__["__module__"].__get__
_qualname = type.__dict__["__qualname__"].__get__
_args = BaseException.__dict__["args"].__get__

# By the id of a type, which is compared: a type that is gone may leave its id to another.
_known: dict[int, tuple[weakref.ref[type], Show]] = {}


def show_of(kind: type) -> Show:
    """How values of *kind* are shown."""
    known = _known.get(id(kind))
    if known is not None and known[0]() is kind:
        return known[1]
    return _remember(kind, _decide(kind))


def type_text(kind: type) -> str:
    """The name of *kind*, as what stands for a value of it."""
    return f"<{_named(kind)}>"


def class_name(kind: type) -> str:
    """The name of *kind*, whatever its metaclass says of it."""
    name: str = _qualname(kind)
    return name


def found_in(kind: type, name: str) -> Any:
    """What *kind* or a class that it inherits from calls *name*, as it lies there; or None."""
    for base in _mro(kind):
        if name in _dict(base):
            return _dict(base)[name]
    return None


def _remember(kind: type, show: Show) -> Show:
    if len(_known) >= _MOST_TYPES:
        _known.clear()
    _known[id(kind)] = weakref.ref(kind), show
    return show


def _top(kind: type) -> str:
    """The package that *kind* comes from."""
    module = _module(kind)
    return module.partition(".")[0] if type(module) is str else ""


def _named(kind: type) -> str:
    module, name = _module(kind), _qualname(kind)
    if type(module) is not str or module == "builtins":
        return str(name)[:_NAME_CHARACTERS]
    # Where a well-known class stands within its library is of no interest.
    place = _top(kind) if _top(kind) in LARGE else module
    return f"{place}.{name}"[:_NAME_CHARACTERS]


def _decide(kind: type) -> Show:
    bases = _mro(kind)
    for base in bases:
        attributes = LARGE.get(_top(base), {}).get(_qualname(base))
        if attributes is not None:
            return _by_shape(attributes)
    if tuple in bases:
        fields = found_in(kind, "_fields")
        if type(fields) is tuple and all(type(name) is str for name in fields):
            return lambda walk, value, depth: walk.mapping(
                zip(fields, tuple.__iter__(value), strict=False), depth
            )
    for base in bases:
        show = _BUILTIN.get(base) or _BY_NAME.get((_module(base), _qualname(base)))
        if show is not None:
            return show
    fields = _fields_of(kind, bases)
    if fields is not None:
        return _by_fields(fields)
    if BaseException in bases and found_in(kind, "__repr__") is BaseException.__repr__:
        return _show_error
    return _show_quick if _top(kind) in _QUICK else _by_repr()


# --- fields --------------------------------------------------------------------------------------


def _fields_of(kind: type, bases: tuple[type, ...]) -> tuple[str, ...] | None:
    """The fields that a ``repr`` of *kind* would name; None when it has none."""
    if msgspec.Struct in bases:
        # Its metaclass has them.
        return tuple(kind.__struct_fields__)  # type: ignore[attr-defined]
    listed = found_in(kind, "__attrs_attrs__")
    if type(listed) is not tuple and listed is not None:
        listed = tuple(listed)
    known = found_in(kind, "__dataclass_fields__")
    if listed is None and type(known) is dict:
        # Not those of classes and of constructors alone.
        listed = [field for field in known.values() if _is_field(field)]
    if listed is None:
        return None
    return tuple(field.name for field in listed if field.repr is not False)


def _is_field(field: Any) -> bool:
    return getattr(field._field_type, "name", "") == "_FIELD"


def _by_fields(names: tuple[str, ...]) -> Show:
    # It holds no descriptor: that would keep the type alive.
    return lambda walk, value, depth: walk.mapping(_values(value, names), depth)


def _values(value: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    held = _held(value)
    for name in names:
        if name in held:
            yield name, held[name]
            continue
        slot = found_in(type(value), name)
        if type(slot) is types.MemberDescriptorType:
            try:
                yield name, slot.__get__(value)
            except AttributeError:
                # It was never set.
                continue


def _held(value: Any) -> dict[str, Any]:
    """The ``__dict__`` of *value*, whatever its class says."""
    for base in _mro(type(value)):
        found = _dict(base).get("__dict__")
        if type(found) in (types.GetSetDescriptorType, types.MemberDescriptorType):
            return found.__get__(value) or {}
    return {}


def _show_attributes(walk: Walk, value: Any, depth: int) -> Any:
    return walk.mapping(_public(_held(value)), depth)


def _show_model(walk: Walk, value: Any, depth: int) -> Any:
    """A pydantic model: its fields and what was given beyond them."""
    kind = type(value)
    fields = found_in(kind, "__pydantic_fields__") or found_in(kind, "__fields__")
    silent = {
        name
        for name, field in (fields.items() if type(fields) is dict else ())
        if getattr(field, "repr", True) is False
    }
    extra = found_in(kind, "__pydantic_extra__")
    more = extra.__get__(value) if type(extra) is types.MemberDescriptorType else None
    held = {**_held(value), **(more or {})}
    return walk.mapping(((k, v) for k, v in _public(held) if k not in silent), depth)


def _public(held: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in held.items() if not name.startswith("_"))


# --- by type -------------------------------------------------------------------------------------


def _members(iterate: Callable[[Any], Iterator[Any]]) -> Show:
    return lambda walk, value, depth: walk.sequence(iterate(value), depth)


def _show_dict(walk: Walk, value: Any, depth: int) -> Any:
    return walk.mapping(dict.items(value), depth)


def _show_items(walk: Walk, value: Any, depth: int) -> Any:
    return walk.mapping(value.items(), depth)


def _show_data(walk: Walk, value: Any, depth: int) -> Any:
    return walk.copy(_held(value).get("data"), depth)


def _show_maps(walk: Walk, value: Any, depth: int) -> Any:
    return walk.copy(_held(value).get("maps"), depth)


def _show_partial(walk: Walk, value: Any, depth: int) -> Any:
    made = functools.partial
    function = made.func.__get__(value)
    parts = {
        "partial": getattr(function, "__qualname__", None) or type_text(type(function)),
        "args": made.args.__get__(value),
        "keywords": made.keywords.__get__(value),
    }
    return walk.mapping(((name, part) for name, part in parts.items() if part), depth)


def _show_array(walk: Walk, value: Any, depth: int) -> Any:  # noqa: ARG001  a Show
    return walk.numbers(value)


def _show_member(walk: Walk, value: Any, depth: int) -> Any:  # noqa: ARG001  a Show
    return walk.member_of(value)


def _show_error(walk: Walk, value: Any, depth: int) -> Any:
    given = walk.sequence(args_of(value), depth)
    return walk.text(f"{type(value).__name__}({', '.join(map(repr, given))})")


def args_of(error: BaseException) -> tuple[Any, ...]:
    """What *error* was made of, whatever its class calls so."""
    found: tuple[Any, ...] = _args(error)
    return found


def _show_quick(walk: Walk, value: Any, depth: int) -> Any:  # noqa: ARG001  a Show
    return walk.foreign(value)


def _by_repr() -> Show:
    """The ``repr`` of each value of a type, and once one took too long the type."""
    taken = late = 0

    def show(walk: Walk, value: Any, depth: int) -> Any:  # noqa: ARG001  a Show
        nonlocal taken, late
        began = walk.clock()
        text = walk.foreign(value)
        took = walk.clock() - began
        taken += 1
        if took > _LONGEST_REPR_NS:
            late += 1
            if took > _LONGEST_PAUSE_NS or late * _TRUST >= taken:
                _remember(type(value), _show_type)
        return text

    return show


def _show_type(walk: Walk, value: Any, depth: int) -> Any:  # noqa: ARG001  a Show
    return walk.text(type_text(type(value)))


def _by_shape(attributes: tuple[str, ...]) -> Show:
    def show(walk: Walk, value: Any, depth: int) -> Any:  # noqa: ARG001  a Show
        told = [_named(type(value))]
        for name in attributes:
            try:
                found = getattr(value, name)
                if name == "shape":
                    found = tuple(map(int, found))
                told.append(f"{name}={str(found)[:_NAME_CHARACTERS]}")
            except Exception as error:
                # Foreign code: it is shown without.
                if is_handlers(error):
                    raise
        return walk.text(f"<{' '.join(told)}>")

    return show


def _octets(kind: type) -> Show:
    return lambda walk, value, depth: walk.octets(value, kind)  # noqa: ARG005  a Show


_BUILTIN: dict[type, Show] = {
    bytes: _octets(bytes),
    bytearray: _octets(bytearray),
    dict: _show_dict,
    list: _members(list.__iter__),
    tuple: _members(tuple.__iter__),
    set: _members(set.__iter__),
    frozenset: _members(frozenset.__iter__),
    collections.deque: _members(collections.deque.__iter__),
    type({}.keys()): _members(iter),
    type({}.values()): _members(iter),
    type({}.items()): _members(iter),
    type(collections.OrderedDict().keys()): _members(iter),
    type(collections.OrderedDict().values()): _members(iter),
    type(collections.OrderedDict().items()): _members(iter),
    types.MappingProxyType: _show_items,
    collections.UserDict: _show_data,
    collections.UserList: _show_data,
    collections.UserString: _show_data,
    collections.ChainMap: _show_maps,
    functools.partial: _show_partial,
    types.SimpleNamespace: _show_attributes,
    enum.Enum: _show_member,
}
_BY_NAME: dict[tuple[str, str], Show] = {
    ("array", "array"): _show_array,
    ("argparse", "Namespace"): _show_attributes,
    ("os", "_Environ"): _show_items,
    ("pydantic.main", "BaseModel"): _show_model,
    ("pydantic.v1.main", "BaseModel"): _show_model,
}

# Packages whose reprs are short and quick: a pause of the machine says nothing against them.
_QUICK = frozenset(
    {"builtins", "datetime", "decimal", "uuid", "pathlib", "ipaddress", "fractions", "re"}
)
