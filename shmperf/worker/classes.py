"""One line on the base of a framework's tool classes: a method of it and of every subclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from .wrappers import track_as

__all__ = ["track_class", "wrap_method"]


def track_class(target: Any = None, /, *, method: str = "execute") -> Any:
    """
    On a base class: *method* of it and of every subclass is tracked, ``@track_class`` or with
    ``(method=…)``.

    A call is recorded under the instance's ``name`` when that is a string, else under the name of
    its class. A method that calls its parent's through ``super()`` is one call.
    """
    if target is None:
        return lambda found: wrap_method(found, method, _tracked)
    return wrap_method(target, method, _tracked)


def _tracked(function: Callable[..., Any], called: str) -> Callable[..., Any]:
    return track_as(function, called, None)  # type: ignore[no-any-return]  # made here


# Makes of a method, and the name that calls go by, what is called instead of it.
Wrap = Callable[[Callable[..., Any], str], Callable[..., Any]]


def wrap_method(base: Any, method: str, wrap: Wrap) -> Any:
    """*base*, with *method* of it and of every subclass replaced by what *wrap* makes of it."""
    inherited = base.__dict__.get("__init_subclass__")

    def init_subclass(cls: Any, /, **kwargs: Any) -> None:
        if inherited is not None:
            inherited.__get__(None, cls)(**kwargs)
        else:
            super(base, cls).__init_subclass__(**kwargs)
        _wrap_method(cls, method, wrap)

    base.__init_subclass__ = classmethod(init_subclass)
    for cls in (base, *_subclasses(base)):
        _wrap_method(cls, method, wrap)
    return base


def _subclasses(base: type[Any]) -> list[type[Any]]:
    return [found for cls in base.__subclasses__() for found in (cls, *_subclasses(cls))]


def _wrap_method(cls: type, method: str, wrap: Wrap) -> None:
    function = cls.__dict__.get(method)
    if not inspect.isfunction(function) or getattr(function, "__isabstractmethod__", False):
        return
    if hasattr(function, "__shmperf_method__"):
        return
    by_name: dict[str, Callable[..., Any]] = {}

    def way_for(instance: Any) -> Callable[..., Any]:
        # An overridden method reached through super() is part of the call that overrides it.
        if getattr(type(instance), method, None) is not made:
            return function
        name = getattr(instance, "name", None)
        called = name if isinstance(name, str) else type(instance).__name__
        found = by_name.get(called)
        if found is None:
            found = by_name[called] = wrap(function, called)
        return found

    made: Any = functools.update_wrapper(_dispatcher(function, way_for), function)
    made.__shmperf_method__ = True
    setattr(cls, method, made)


def _dispatcher(
    function: Callable[..., Any], way_for: Callable[[Any], Callable[..., Any]]
) -> Callable[..., Any]:
    """A method of the same kind as *function* that runs what *way_for* says of its instance."""
    if inspect.iscoroutinefunction(function):

        async def dispatch_coroutine(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await way_for(self)(self, *args, **kwargs)

        return dispatch_coroutine

    if inspect.isgeneratorfunction(function):

        def dispatch_generator(self: Any, *args: Any, **kwargs: Any) -> Any:
            return (yield from way_for(self)(self, *args, **kwargs))

        return dispatch_generator

    def dispatch(self: Any, *args: Any, **kwargs: Any) -> Any:
        return way_for(self)(self, *args, **kwargs)

    return dispatch
