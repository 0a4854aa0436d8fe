"""What a tracked function becomes: wrappers for functions, coroutines, generators and blocks."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from threading import get_ident
from types import CodeType, TracebackType
from typing import Any, Self, TypeVar, overload
from weakref import WeakKeyDictionary

from .context import Pair, current_call, hex_id, outermost_open
from .frames import ends_in_order, is_in_asyncio
from .gcwatch import is_collecting
from .hotpath import Wrapped, finish, is_seen, take_up, track_function, unfinished
from .opencall import OpenCall, new_call
from .process import named_callee, tool_named

__all__ = [
    "call",
    "recipe_of",
    "track",
    "track_as",
    "tracked_name",
]

F = TypeVar("F", bound=Callable[..., Any])


@overload
def track(function: F, /) -> F: ...
@overload
def track(name: str, /) -> Callable[[F], F]: ...
@overload
def track(*, name: str | None = None, params: Any = None) -> Callable[[F], F]: ...


def track(target: Any = None, /, *, name: str | None = None, params: Any = None) -> Any:
    """
    Record every call of a function: ``@track``, ``@track("name")`` or ``@track(name=…, params=…)``.

    For functions, methods, classmethods, staticmethods, coroutine functions, generators and async
    generators; the result keeps name, signature, docstring and kind, and pickles. A generator's
    call lasts from its first step to its end or close. *params* chooses what is recorded of the
    parameters: False for nothing, a sequence of names, or a function that gets the call's own
    arguments and returns a dict. The function's result and exceptions are never changed.
    """
    if isinstance(target, str):
        name, target = target, None
    if target is None:
        return lambda function: track_as(function, name, params)
    return track_as(target, name, params)


def track_as(function: Any, name: str | None, params: Any) -> Any:
    """*function*, or what a classmethod or staticmethod holds, as a tracked one."""
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(track_as(function.__func__, name, params))
    if not callable(function):
        raise TypeError(f"track: found {type(function).__name__}, expected a callable")
    called = getattr(function, "__name__", type(function).__name__) if name is None else name
    wrapped = Wrapped(function, tool_named(called), params)
    if inspect.isasyncgenfunction(function):
        made = _track_async_generator(wrapped)
    elif inspect.iscoroutinefunction(function):
        made = _track_coroutine(wrapped)
    elif inspect.isgeneratorfunction(function):
        made = _track_generator(wrapped)
    elif params is not None:
        made = _track_chosen(wrapped)
    else:
        made = track_function(wrapped)
    _made[made] = wrapped
    _codes.add(made.__code__)
    return functools.update_wrapper(made, function)


# What became of functions, for those who send functions by value to other processes.
_made: WeakKeyDictionary[Callable[..., Any], Wrapped] = WeakKeyDictionary()
# The code that they have in common, which is quicker to look for.
_codes: set[CodeType] = set()


def recipe_of(function: Any) -> tuple[Callable[..., Any], str, Any] | None:
    """The arguments with which `track_as` makes this tracked *function* again; None for others."""
    wrapped = _made.get(function)
    return None if wrapped is None else (wrapped.function, wrapped.tool.name, wrapped.params)


def tracked_name(function: Any) -> str | None:
    """The name under which this tracked function or method is recorded; None for others."""
    if getattr(function, "__code__", None) not in _codes:
        return None
    wrapped = _made.get(getattr(function, "__func__", function))
    return None if wrapped is None else wrapped.tool.name


# --- functions with chosen parameters, coroutines and generators ----------------------------------


def _track_chosen(wrapped: Wrapped) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if wrapped.tool.bound is None or is_seen(wrapped.tool):
            return wrapped.function(*args, **kwargs)
        opened = new_call(wrapped.tool, wrapped.callee)
        try:
            wrapped.open(opened, args, kwargs)
            result = wrapped.function(*args, **kwargs)
            opened.close()
            return result
        except BaseException as error:
            # Noted and passed on.
            try:
                left = unfinished.setdefault(get_ident(), [])
                left.append([opened, None if opened.end_ns else error])
                finish(left, opened.outer_now())
            except BaseException as again:
                # Struck again. Without room for a frame it stays listed, for a later call.
                if type(again) is not RecursionError and take_up(opened, error, again):
                    raise
            raise

    return wrapper


def _track_coroutine(wrapped: Wrapped) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if wrapped.tool.bound is None or is_seen(wrapped.tool):
            return await wrapped.function(*args, **kwargs)
        opened = new_call(wrapped.tool, wrapped.callee)
        try:
            if wrapped.begin(opened, args, kwargs):
                opened.enter(in_order=is_in_asyncio())
            result = await wrapped.function(*args, **kwargs)
            opened.close()
            return result
        except BaseException as error:
            # Noted and passed on.
            try:
                left = unfinished.setdefault(get_ident(), [])
                left.append([opened, None if opened.end_ns else error])
                finish(left, opened.outer_now())
            except BaseException as again:
                # Struck again. Without room for a frame it stays listed, for a later call.
                if type(again) is not RecursionError and take_up(opened, error, again):
                    raise
            raise

    return wrapper


class _Steps:
    """
    Makes a generator's call current inside each step, never between two.

    So are blocks that are open inside the generator when it yields.
    """

    __slots__ = ("_inner", "_opened")

    def __init__(self, opened: OpenCall) -> None:
        self._opened = opened
        self._inner: int | Pair = 0

    def __enter__(self) -> None:
        if self._opened.call_id:
            self._opened.outer = current_call.get()
            self._opened.enter()
            inner = outermost_open(self._inner)
            if inner and inner != self._opened.call_id and not is_collecting():
                current_call.set(inner)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inner = self._opened.innermost()
        self._opened.leave()


def _track_generator(wrapped: Wrapped) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = wrapped.function(*args, **kwargs)
        opened = new_call(wrapped.tool, wrapped.callee)
        try:
            if not is_seen(wrapped.tool):
                wrapped.begin(opened, args, kwargs)
            result = yield from _step_through(generator, _Steps(opened))
            if opened.call_id:
                opened.end()
            return result
        except BaseException as error:
            # Noted and passed on; who closes it has had enough, which is no error.
            try:
                its_own = None if isinstance(error, GeneratorExit) else error
                left = unfinished.setdefault(get_ident(), [])
                left.append([opened, None if opened.end_ns else its_own])
                finish(left, opened.outer_now())
            except BaseException as again:
                # Struck again. Without room for a frame it stays listed, for a later call.
                if type(again) is not RecursionError and take_up(opened, error, again):
                    raise
            raise

    return wrapper


def _step_through(generator: Generator[Any, Any, Any], steps: _Steps) -> Generator[Any, Any, Any]:
    step: Callable[[], Any] = functools.partial(next, generator)
    while True:
        try:
            with steps:
                value = step()
        except StopIteration as stop:
            return stop.value
        try:
            sent = yield value
        except GeneratorExit:
            with steps:
                generator.close()
            raise
        except BaseException as error:  # noqa: BLE001  thrown in by the caller, handed through
            step = functools.partial(generator.throw, error)
        else:
            step = functools.partial(generator.send, sent)


def _track_async_generator(wrapped: Wrapped) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = wrapped.function(*args, **kwargs)
        opened = new_call(wrapped.tool, wrapped.callee)
        steps = _Steps(opened)
        step: Callable[[], Any] = generator.__anext__
        try:
            if not is_seen(wrapped.tool):
                wrapped.begin(opened, args, kwargs)
            while True:
                try:
                    with steps:
                        value = await step()
                except StopAsyncIteration:
                    break
                try:
                    sent = yield value
                except GeneratorExit:
                    with steps:
                        await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001  thrown in by the caller
                    step = functools.partial(generator.athrow, error)
                else:
                    step = functools.partial(generator.asend, sent)
            if opened.call_id:
                opened.end()
        except BaseException as error:
            # Noted and passed on; who closes it has had enough, which is no error.
            try:
                its_own = None if isinstance(error, GeneratorExit) else error
                left = unfinished.setdefault(get_ident(), [])
                left.append([opened, None if opened.end_ns else its_own])
                finish(left, opened.outer_now())
            except BaseException as again:
                # Struck again. Without room for a frame it stays listed, for a later call.
                if type(again) is not RecursionError and take_up(opened, error, again):
                    raise
            raise

    return wrapper


# --- blocks ---------------------------------------------------------------------------------------


class call:  # noqa: N801  used like a function: ``with call("name"):``
    """
    Record a block as a call: ``with call("name", key=value):``, or ``async with``.

    An object is for one block. In an async block the parent and the times are right across awaits.
    """

    __slots__ = ("_opened", "_params", "_tool")

    def __init__(self, name: str, /, **params: Any) -> None:
        self._tool = tool_named(name)
        self._params = params
        self._opened: OpenCall | None = None

    def __enter__(self) -> Self:
        return self._begin(awaited=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Struck before this line, the block's end never comes: so it is with context managers.
        opened = self._opened
        if opened is None:
            return
        try:
            opened.close(error)
        except BaseException as struck:
            # An interruption of the end: ended, and passed on.
            if take_up(opened, error, struck):
                raise

    async def __aenter__(self) -> Self:
        return self._begin(awaited=True)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    @property
    def id(self) -> str | None:
        """The call's id while it is recorded, else None."""
        opened = self._opened
        return hex_id(opened.call_id) if opened is not None and opened.call_id else None

    def annotate(self, **metadata: Any) -> None:
        """Add to the call's metadata, which optimization mode keeps."""
        if self._opened is not None:
            self._opened.annotate(metadata)

    def _begin(self, *, awaited: bool) -> Self:
        if self._tool.bound is None:
            return self
        opened = self._opened = new_call(self._tool, named_callee(self._tool))
        try:
            # Of who entered the block.
            in_order = ends_in_order(sys._getframe(2), awaited=awaited)
            opened.open((), self._params, timed_cpu=not awaited, in_order=in_order)
            return self
        except BaseException as error:
            # The block is never entered, so nobody else would end it.
            if take_up(opened, error, error):
                raise
            return self
