"""
What stands in for a callable that is no function: the object itself, but that its calls are seen.

A function in the place of a cached function, a partial, a method or an object of somebody's class
would lose what the object can do beside being called. So its place is taken by an object of a class
of its own, made for it alone: it says that it is of the original's class, has all its attributes
and operators, binds as it does, and pickles and is copied as something that is tracked again.

The call stands in the class as a static method, so that nothing lies between it and the caller.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import GetSetDescriptorType, MemberDescriptorType, MethodType
from typing import Any

__all__ = ["is_stand_in", "made_from", "stand_in"]

_MADE_FROM = "__shmperf_made_from__"

# What a class needs for itself, or what the stand-in has to do in another way.
_OWN = frozenset(
    {
        "__abstractmethods__",
        "__annotate__",
        "__annotations__",
        "__call__",
        "__class__",
        "__class_getitem__",
        "__copy__",
        "__deepcopy__",
        "__del__",
        "__delattr__",
        "__dict__",
        "__dir__",
        "__doc__",
        "__get__",
        "__getattr__",
        "__getattribute__",
        "__getstate__",
        "__init__",
        "__init_subclass__",
        "__module__",
        "__new__",
        "__reduce__",
        "__reduce_ex__",
        "__repr__",
        "__set_name__",
        "__setattr__",
        "__setstate__",
        "__signature__",
        "__slots__",
        "__str__",
        "__subclasshook__",
        "__weakref__",
    }
)


def stand_in(
    original: Any,
    call: Callable[..., Any],
    again: Callable[[Any], Any],
    made_from: object = None,
    *,
    get: Callable[[Any, Any], Any] | None = None,
) -> Any:
    """
    An object like *original* in everything, a call of which is *call*.

    *again* makes of another object, a copy or what binding gives, what is to stand in for that.
    `made_from` returns what is given here. *get* is what reading it from an instance and its class
    gives, in place of what *original* would.
    """
    kind = type(original)
    found = {name for cls in kind.__mro__[:-1] for name in vars(cls) if _is_special(name)} - _OWN
    names = [name for name in found if not _is_attribute(kind, name)]
    namespace: dict[str, Any] = {name: _member(original, name) for name in names}
    namespace |= _attributes(original)
    namespace |= _copies(original, again)
    namespace["__call__"] = staticmethod(call)
    namespace[_MADE_FROM] = made_from
    if get is not None:
        namespace["__get__"] = lambda _, instance, owner=None: get(instance, owner)
    elif hasattr(kind, "__get__"):
        namespace["__get__"] = _binding(original, again)
    made = type(kind.__name__, (), namespace)
    made.__qualname__ = kind.__qualname__
    return made()


def _copy(original: Any) -> Any:
    # By whoever copies: then it has been imported.
    import copy  # noqa: PLC0415

    return copy.copy(original)


def _deepcopy(original: Any, memo: Any) -> Any:
    import copy  # noqa: PLC0415  the same

    return copy.deepcopy(original, memo)


def made_from(found: Any) -> Any:
    """What was given with the stand-in *found*; None for whatever else."""
    return getattr(type(found), _MADE_FROM, None)


def is_stand_in(found: Any) -> bool:
    """True for what `stand_in` has made."""
    return hasattr(type(found), _MADE_FROM)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_attribute(kind: type, name: str) -> bool:
    """Whether it is read from an instance as attributes are, so that nothing need be done."""
    member = inspect.getattr_static(kind, name)
    return isinstance(member, (property, GetSetDescriptorType, MemberDescriptorType))


def _member(original: Any, name: str) -> Any:
    """A special name of the original's class as its stand-in's class has it."""
    member = inspect.getattr_static(type(original), name)
    if member is None or not (callable(member) or hasattr(type(member), "__get__")):
        # No operator, as a hash that is not there; or what a dataclass knows of its fields.
        return member

    def forward(_: Any, /, *args: Any, **kwargs: Any) -> Any:
        return getattr(original, name)(*args, **kwargs)

    return forward


def _attributes(original: Any) -> dict[str, Any]:
    """Reading and writing of attributes: all go to the original."""

    def signature(_: Any) -> inspect.Signature:
        try:
            return inspect.signature(original)
        except (TypeError, ValueError) as error:
            raise AttributeError(str(error)) from None

    namespace = {
        "__slots__": ("__weakref__",),
        "__module__": getattr(original, "__module__", None),
        "__class__": property(lambda _: original.__class__),
        "__doc__": property(lambda _: original.__doc__),
        "__signature__": property(signature),
        "__getattr__": lambda _, name: getattr(original, name),
        "__setattr__": lambda _, name, value: setattr(original, name, value),
        "__delattr__": lambda _, name: delattr(original, name),
        "__dir__": lambda _: dir(original),
        "__repr__": lambda _: repr(original),
        "__str__": lambda _: str(original),
    }
    if hasattr(original, "__dict__"):
        namespace["__dict__"] = property(lambda _: original.__dict__)
    return namespace


def _copies(original: Any, again: Callable[[Any], Any]) -> dict[str, Any]:
    """Copies and pickles: by name where it can be imported, as functions are, else made again."""

    def reduce(self: Any, _protocol: int) -> Any:
        name = getattr(original, "__qualname__", None)
        found: Any = sys.modules.get(str(getattr(original, "__module__", None)))
        for part in name.split(".") if isinstance(name, str) else ():
            found = getattr(found, part, None)
        return name if found is self else (again, (original,))

    def copied(self: Any, made: Any) -> Any:
        return self if made is original else again(made)

    return {
        "__reduce_ex__": reduce,
        "__copy__": lambda self: copied(self, _copy(original)),
        "__deepcopy__": lambda self, memo: copied(self, _deepcopy(original, memo)),
    }


def _binding(original: Any, again: Callable[[Any], Any]) -> Callable[..., Any]:
    """What reading it as an attribute of a class or instance gives."""

    def get(self: Any, instance: Any, owner: Any = None) -> Any:
        bound = type(original).__get__(original, instance, owner)
        if bound is original:
            return self
        if type(bound) is MethodType and bound.__func__ is original:
            return MethodType(self, bound.__self__)
        return again(bound) if callable(bound) else bound

    return get
