"""What sort of callable a function is, what its calls are called, and which ones are refused."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Literal

from shmperf.stdlib import os

__all__ = [
    "Kind",
    "as_iterable_coroutine",
    "is_command",
    "kind_of",
    "name_of",
    "refusal",
]

if TYPE_CHECKING:
    Kind = Literal["plain", "coroutine", "generator", "async generator", "context", "async context"]
else:
    Kind = str


@contextlib.contextmanager
def _context() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def _async_context() -> AsyncIterator[None]:
    yield


# All functions that contextlib makes have one of these two codes.
_CONTEXTS: dict[Any, Kind] = {
    _context.__code__: "context",
    _async_context.__code__: "async context",
}


def kind_of(function: Any) -> Kind:
    """How a call of *function*, any callable, goes on: that of partials and objects, too."""
    function = _without_partials(function)
    for found in (function, _call_of(function)):
        if inspect.isasyncgenfunction(found):
            return "async generator"
        if inspect.iscoroutinefunction(found):
            return "coroutine"
        if inspect.isgeneratorfunction(found):
            return "generator"
    context = _CONTEXTS.get(getattr(function, "__code__", None))
    if context is not None and type(function) is types.FunctionType:
        return context if hasattr(function, "__wrapped__") else "plain"
    return "plain"


def _without_partials(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _call_of(function: Any) -> Any:
    """What its class does when an object is called; a mock of a coroutine function says itself."""
    return getattr(type(function), "__call__", None)  # noqa: B004  not whether it is callable


def as_iterable_coroutine(function: Any, made: Any) -> Any:
    """*made*, a generator function, as one whose generators can be awaited if *function*'s can."""
    function = _without_partials(function)
    for found in (function, _call_of(function)):
        flags = getattr(getattr(found, "__code__", None), "co_flags", 0)
        if isinstance(flags, int) and flags & inspect.CO_ITERABLE_COROUTINE:
            return types.coroutine(made)
    return made


def name_of(function: Any) -> str:
    """The name under which calls of *function* are recorded, where nobody gives another."""
    function = _without_partials(function)
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        return type(function).__name__
    code = getattr(function, "__code__", None)
    if name == "<lambda>" and isinstance(code, types.CodeType):
        # All have the same name; where it stands tells one from the others.
        return f"<lambda> {os.path.basename(code.co_filename)}:{code.co_firstlineno}"
    return name


# Decorators of these make objects that are called by others than who has the object, or that run
# the function somewhere else: what is recorded must be inside them.
_CALLED_ELSEWHERE = frozenset(
    {"agents", "celery", "dramatiq", "fastmcp", "huey", "langchain_core", "prefect", "ray", "rq"}
)
_DESCRIPTORS: tuple[tuple[type[Any], str], ...] = (
    (property, "property"),
    (functools.cached_property, "cached_property"),
    (functools.singledispatchmethod, "singledispatchmethod"),
)


def refusal(function: Any) -> str | None:
    """Why *function* can't be tracked, and what to do; None when it can."""
    kind = type(function)
    if isinstance(function, type):
        return (
            f"found the class {function.__qualname__}, expected a function: a function in its place"
            " would be no class; track its methods, or use track_class(method=…)"
        )
    for descriptor, name in _DESCRIPTORS:
        if isinstance(function, descriptor):
            return f"found {kind.__name__}, expected a callable: put @track below @{name}"
    if is_command(function) and function.callback is None:
        return f"found a {kind.__name__} that runs nothing itself: put @track on its commands"
    if not callable(function):
        hint = "" if kind.__module__ == "builtins" else ": put @track below what made it"
        return f"found {kind.__name__}, expected a callable{hint}"
    root = str(kind.__module__).partition(".")[0]
    if root in _CALLED_ELSEWHERE and kind is not types.FunctionType:
        return (
            f"found {kind.__name__} of {root}, which is not only called by who has it: put @track "
            f"below {root}'s decorator"
        )
    return None


def is_command(function: Any) -> bool:
    """True for a command of Click, which runs its callback and is not called itself."""
    return any(
        cls.__name__ in ("BaseCommand", "Command")
        and str(cls.__module__).partition(".")[0] in ("click", "asyncclick")
        for cls in type(function).__mro__
    )
