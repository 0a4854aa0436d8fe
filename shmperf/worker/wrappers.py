"""What a tracked function becomes: wrappers for functions, coroutines and generators."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from types import CodeType, CoroutineType, FunctionType, MethodType
from typing import Any, TypeVar, overload
from weakref import WeakKeyDictionary, finalize

from shmperf.stdlib import get_ident

from .api import annotate
from .asyncgens import next_step
from .block import call
from .classcell import with_class_of
from .context import current_call
from .failures import is_programs
from .frames import is_in_asyncio
from .hotcoroutine import know_loop, track_awaited
from .hotpath import (
    Wrapped,
    detour,
    enter_anew,
    finish,
    is_seen,
    leave_off,
    take_up,
    track_plain,
    unfinished,
)
from .kinds import Kind, as_iterable_coroutine, is_command, kind_of, name_of, refusal
from .opencall import OpenCall, new_call
from .process import tool_named
from .quickcall import WrittenCall
from .standin import made_from, stand_in
from .stepped import stepped_call

# What a program has imported a part of it can use where imports are forbidden later: a block, too,
# and with one name all that is called by hand.
__all__ = [
    "annotate",
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
    """*function*, or what a method's descriptor holds, as a tracked one."""
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(track_as(function.__func__, name, params))
    if isinstance(function, functools.partialmethod):
        inner = track_as(function.func, name, params)
        return type(function)(inner, *function.args, **function.keywords)
    if (refused := refusal(function)) is not None:
        raise TypeError(f"track: {refused}")
    if is_command(function):
        # Click runs what it is made of; the command stays the one that its group has.
        function.callback = track_as(function.callback, name, params)
        return function
    wrapped = Wrapped(function, tool_named(name_of(function) if name is None else name), params)
    made = with_class_of(function, _made_for(wrapped))
    if type(function) is not FunctionType:
        again = functools.partial(track_as, name=wrapped.tool.name, params=params)
        return stand_in(function, functools.update_wrapper(made, function), again, wrapped)
    _made[made] = wrapped
    _codes.add(made.__code__)
    if wrapped.fast is not None:
        # What it has instead where calls are deep one inside the other.
        _codes.add(wrapped.fast.pure.__code__)
    return functools.update_wrapper(made, function)


def _made_for(wrapped: Wrapped) -> Any:
    """A function that records the calls of what is *wrapped*, of the same kind."""
    function = wrapped.function
    kind = kind_of(function)
    if kind in _CONTEXT_MAKERS:
        # The call is the block, and not the making of what the block is entered by.
        inner = Wrapped(vars(function)["__wrapped__"], wrapped.tool, wrapped.params)
        return _CONTEXT_MAKERS[kind](_made_for(inner))
    if kind == "generator":
        return as_iterable_coroutine(function, _track_generator(wrapped))
    if kind != "plain":
        return _MAKERS[kind](wrapped)
    wrapped.hand_out, wrapped.quick = _handed_out, _quick_call
    return track_plain(wrapped) if wrapped.params is None else _track_chosen(wrapped)


# What became of functions, for those who send functions by value to other processes.
_made: WeakKeyDictionary[Callable[..., Any], Wrapped] = WeakKeyDictionary()
# The code that they have in common, which is quicker to look for.
_codes: set[CodeType] = set()


def recipe_of(function: Any) -> tuple[Callable[..., Any], str, Any] | None:
    """The arguments with which `track_as` makes this tracked *function* again; None for others."""
    wrapped = _wrapped_in(function)
    return None if wrapped is None else (wrapped.function, wrapped.tool.name, wrapped.params)


def tracked_name(function: Any) -> str | None:
    """The name under which this tracked function or method is recorded; None for others."""
    kind = type(function)
    if kind is FunctionType or kind is MethodType:
        if getattr(function, "__code__", None) not in _codes:
            return None
        function = getattr(function, "__func__", function)
    wrapped = _wrapped_in(function)
    return None if wrapped is None else wrapped.tool.name


def _wrapped_in(function: Any) -> Wrapped | None:
    if type(function) is FunctionType:
        return _made.get(function)
    found = made_from(function)
    return found if type(found) is Wrapped else None


# --- functions with chosen parameters, coroutines and generators ----------------------------------


def _track_chosen(wrapped: Wrapped) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if wrapped.tool.bound is None:
            return wrapped.function(*args, **kwargs)
        return detour(wrapped, args, kwargs)

    return wrapper


def _track_coroutine(wrapped: Wrapped) -> Callable[..., Any]:
    detour = _coroutine_detour(wrapped)
    return track_awaited(wrapped, detour) if wrapped.params is None else detour


def _coroutine_detour(wrapped: Wrapped) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if wrapped.tool.bound is None or is_seen(wrapped.tool):
            leave_off(wrapped)
            return await wrapped.function(*args, **kwargs)
        opened = new_call(wrapped.tool, wrapped.callee)
        try:
            is_in_loop = is_in_asyncio()
            if is_in_loop:
                know_loop()
            if wrapped.begin(opened, args, kwargs):
                opened.enter(in_order=is_in_loop)
            call_id = opened.call_id  # noqa: F841  as above
            result = await wrapped.function(*args, **kwargs)
            opened.close()
            enter_anew(wrapped)
            return result
        except BaseException as error:
            # Noted and passed on.
            try:
                left = unfinished.setdefault(get_ident(), [])
                left.append([opened, None if opened.end_ns else error])
                finish(left, opened.outer_now())
                enter_anew(wrapped)
            except BaseException as again:
                # Struck again. Without room for a frame it stays listed, for a later call.
                if type(again) is not RecursionError and take_up(opened, error, again):
                    raise
            raise

    return wrapper


def _quick_call(
    wrapped: Wrapped, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> WrittenCall | None:
    try:
        return WrittenCall(wrapped.tool, wrapped.callee, *wrapped.recorded(args, kwargs))
    except Exception as error:
        # No memory, perhaps.
        if is_programs(error):
            raise
        return None


def _handed_out(opened: OpenCall, coroutine: CoroutineType[Any, Any, Any]) -> Any:
    """*coroutine*, with whose end the call ends, or when it is let go without a step."""
    if not opened.call_id:
        return coroutine
    try:
        opened.forget_cpu()
        opened.leave()
        made: Any = _gone_on(opened, coroutine)
        made.__name__, made.__qualname__ = coroutine.__name__, coroutine.__qualname__
        finalize(made, _let_go, opened, coroutine).atexit = False
        return made
    except Exception as error:
        # Then the call ends here; the program gets what it has to await.
        if is_programs(error):
            raise
        opened.end()
        return coroutine


def _let_go(opened: OpenCall, coroutine: CoroutineType[Any, Any, Any]) -> None:
    if not opened.end_ns:
        coroutine.close()
        opened.end("CancelledError")


async def _gone_on(opened: OpenCall, coroutine: CoroutineType[Any, Any, Any]) -> Any:
    try:
        opened.outer = current_call.get()
        opened.enter(in_order=is_in_asyncio())
        call_id = opened.call_id  # noqa: F841  as above
        result = await coroutine
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


def _track_generator(wrapped: Wrapped) -> Callable[..., Any]:
    # Of an imported name's method an object is made at each call, which takes memory; so does a
    # number that is made anew.
    current = current_call

    # Written out: whoever closes what is behind a ``yield from`` never hears what comes of it.
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = wrapped.function(*args, **kwargs)
        stepped = stepped_call(wrapped, args, kwargs)
        # What is sent and thrown stands here as it came: what would hold it takes memory of ours.
        sent: Any = None
        thrown: BaseException | None = None
        try:
            if not is_seen(wrapped.tool):
                stepped.open(in_order=True)
            call_id = current.get()  # noqa: F841  as above
            while True:
                try:
                    value = generator.send(sent) if thrown is None else generator.throw(thrown)
                except StopIteration as stop:
                    result = stop.value
                    break
                finally:
                    # Also where it is raised: it knows this frame, and would be garbage for long.
                    sent = thrown = None
                stepped.step_out()
                try:
                    sent = yield value
                except BaseException as error:  # noqa: BLE001  thrown in by the caller, or a close
                    thrown = error
                stepped.step_in()
            stepped.close(None, None, None)
            return result
        except BaseException as error:
            # Noted and passed on; who closes it has had enough, which is no error.
            try:
                left = unfinished.setdefault(get_ident(), [])
                left.append([stepped, None if issubclass(type(error), GeneratorExit) else error])
                finish(left, stepped.outer_now())
            except BaseException as again:
                # Struck again. Without room for a frame it stays listed, for a later call.
                if type(again) is not RecursionError and take_up(stepped.call(), error, again):
                    raise
            raise

    return wrapper


def _track_async_generator(wrapped: Wrapped) -> Callable[..., Any]:
    # As above.
    current = current_call

    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = wrapped.function(*args, **kwargs)
        stepped = stepped_call(wrapped, args, kwargs)
        sent: Any = None
        thrown: BaseException | None = None
        is_first = True
        try:
            if not is_seen(wrapped.tool):
                stepped.open(in_order=True)
            call_id = current.get()  # noqa: F841  as above
            while True:
                try:
                    value = await next_step(generator, sent, thrown, is_first=is_first)
                except StopAsyncIteration:
                    break
                finally:
                    # As above.
                    sent = thrown = None
                is_first = False
                stepped.step_out()
                try:
                    sent = yield value
                except BaseException as error:  # noqa: BLE001  thrown in by the caller, or a close
                    thrown = error
                stepped.step_in()
            stepped.close(None, None, None)
        except BaseException as error:
            # As above; who closes it has had enough.
            try:
                left = unfinished.setdefault(get_ident(), [])
                left.append([stepped, None if issubclass(type(error), GeneratorExit) else error])
                finish(left, stepped.outer_now())
            except BaseException as again:
                # Struck again. Without room for a frame it stays listed, for a later call.
                if type(again) is not RecursionError and take_up(stepped.call(), error, again):
                    raise
            raise

    return wrapper


_MAKERS: dict[Kind, Callable[[Wrapped], Callable[..., Any]]] = {
    "async generator": _track_async_generator,
    "coroutine": _track_coroutine,
}
_CONTEXT_MAKERS: dict[Kind, Callable[[Any], Any]] = {
    "context": contextmanager,
    "async context": asynccontextmanager,
}
