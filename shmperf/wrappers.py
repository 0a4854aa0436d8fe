"""
What a tracked function becomes: wrappers for functions, coroutines, generators, classes and blocks.

`_track_function` holds the hot path, written out by hand: a call through it costs less than half
of one through `OpenCall`, which everything else uses. Its order is the protocol's:

    read the tool's tuple → compare the session word → capture parameters → take a row
    → start: write the row, its id last → call → end: take a position and store, one step
    → restore the context → free the row

The whole of it from the row's id on stands inside one ``try``, which costs nothing while nothing
is raised. What an interruption leaves undone `_finish` takes up; the three marks it goes by
(position, row, end) are set where no signal handler can come between the mark and the deed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from threading import get_ident
from time import perf_counter_ns
from types import CodeType, TracebackType
from typing import Any, Self, TypeVar, overload
from weakref import WeakKeyDictionary

import msgspec

from .capture import PLAIN_TYPES, SHORT, Cut, short_body
from .inflight import CALLEE, GENERATION_STEP, PARENT, START
from .opencall import OpenCall
from .parents import TRACKED, Pair, Seen, current_call, hex_id, parent_of
from .record import BODY_BYTES, NAMED, PRUNED, SLOT, Callee
from .worker import Tool, tool_named, worker

__all__ = [
    "call",
    "is_seen",
    "named_callee",
    "positional_names",
    "recipe_of",
    "track",
    "track_as",
    "track_class",
    "tracked_name",
]

F = TypeVar("F", bound=Callable[..., Any])

# Row, id, parent, start, end and position of a call, as far as it came.
Marks = tuple[int, int, int, int, int, int]

_encode = msgspec.msgpack.Encoder().encode
_store = SLOT.pack_into


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
    wrapped = _Wrapped(function, tool_named(called), params)
    if inspect.isasyncgenfunction(function):
        made = _track_async_generator(wrapped)
    elif inspect.iscoroutinefunction(function):
        made = _track_coroutine(wrapped)
    elif inspect.isgeneratorfunction(function):
        made = _track_generator(wrapped)
    elif params is not None:
        made = _track_chosen(wrapped)
    else:
        made = _track_function(wrapped)
    _made[made] = wrapped
    _codes.add(made.__code__)
    return functools.update_wrapper(made, function)


# What became of functions, for those who send functions by value to other processes.
_made: WeakKeyDictionary[Callable[..., Any], _Wrapped] = WeakKeyDictionary()
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


class _Wrapped:
    """A function, the tool that its calls are recorded under, and how to name its parameters."""

    __slots__ = ("callee", "function", "params", "skip", "tool")

    def __init__(self, function: Callable[..., Any], tool: Tool, params: Any) -> None:
        self.function = function
        self.tool = tool
        self.params = params
        names, rest, self.skip = positional_names(function)
        self.callee = worker.callee(tool, Callee(tool.name, names, rest))

    def given(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments that are recorded."""
        if self.params is None:
            return (args[1:] if self.skip else args), kwargs
        if self.params is False:
            return (), {}
        try:
            return (), self._chosen(args, kwargs)
        except Exception:  # noqa: BLE001  the user's own function, or arguments that don't fit
            return (), {}

    def _chosen(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        if callable(self.params):
            return dict(self.params(*args, **kwargs))
        bound = inspect.signature(self.function).bind(*args, **kwargs).arguments
        return {name: bound[name] for name in self.params if name in bound}


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


# --- plain functions ------------------------------------------------------------------------------


def _track_function(wrapped: _Wrapped) -> Callable[..., Any]:  # noqa: C901, PLR0915  see above
    function, tool, callee, skip = wrapped.function, wrapped.tool, wrapped.callee, wrapped.skip
    plain_meta = callee << 16
    step = GENERATION_STEP
    row_start, row_parent, row_callee = START, PARENT, CALLEE
    store, clock, encode, current = _store, perf_counter_ns, _encode, current_call
    simple, short, cut, most = PLAIN_TYPES, SHORT, Cut, BODY_BYTES
    named, pruned = NAMED << 8, PRUNED << 8
    unfinished, thread, collecting = _unfinished, get_ident, worker.collecting

    def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: C901, PLR0911, PLR0912, PLR0915
        bound = tool.bound
        if bound is None:
            return function(*args, **kwargs)
        word, session, ready, words, buffer, positions, shift = bound
        if session[0] != word or collecting:
            return _detour(wrapped, args, kwargs)
        body: bytes | None = b""
        # Flags and length, the low bits of the meta word.
        info = 0
        given = args[1:] if skip else args
        if kwargs:
            body = short_body(given, kwargs)
            if body is None:
                return _detour(wrapped, args, kwargs)
            info = len(body) | (named if given else 0) | (pruned if type(body) is cut else 0)
        elif given:
            for value in given:
                kind = type(value)
                if kind in simple or (kind is str and len(value) <= short):
                    continue
                body = short_body(given, kwargs)
                if body is None:
                    return _detour(wrapped, args, kwargs)
                info = len(body) | (pruned if type(body) is cut else 0)
                break
            else:
                try:
                    body = encode(given)
                except (OverflowError, ValueError):
                    return _detour(wrapped, args, kwargs)
                info = len(body)
                if info > most:
                    return _detour(wrapped, args, kwargs)
        try:
            row = ready.pop()  # point: row-take
        except IndexError:
            return _detour(wrapped, args, kwargs)
        call_id = position = end = start = 0
        outer = current.get()
        parent: Any = outer
        try:
            start = clock()
            words[row + row_start] = start  # point: row-start
            try:
                words[row + row_parent] = parent
            except TypeError:
                if type(outer) is Seen and outer.is_seen_by(TRACKED, tool.name):
                    free, row = row, 0
                    ready.append(free)
                    return function(*args, **kwargs)
                words[row + row_parent] = parent = parent_of(outer)
            words[row + row_callee] = callee  # point: row-callee
            call_id = words[row] + step  # point: row-next-id
            words[row] = call_id  # point: row-id
            current.set(call_id)  # point: row-begun
            result = function(*args, **kwargs)
            end = clock()  # point: call-returned
            if tool.bound is not bound:
                # Another thread refilled, the mode changed, or the tool forked.
                left = unfinished.setdefault(thread(), [])
                marks = row, call_id, parent, start, end, 0
                row = 0
                # point below: left-rebound
                left.append([None, None, wrapped, ready, marks, (body, info)])
                _finish(left, outer)
                return result
            meta = plain_meta | info
            for position in positions:  # point: slot-take
                # point below: slot-store
                store(buffer, position + shift, call_id, parent, start, end, meta, body, position)
                break  # point: slot-stored
            else:
                left = unfinished.setdefault(thread(), [])
                marks = row, call_id, parent, start, end, 0
                row = 0
                # point below: left-exhausted
                left.append([None, None, wrapped, ready, marks, (body, info)])
                _finish(left, outer)
                return result
            current.set(outer)  # point: context-restore
            free, row = row, 0  # point: row-give-up
            ready.append(free)  # point: row-free
            return result  # point: call-done
        except BaseException as error:
            left = unfinished.setdefault(thread(), [])
            if row:
                marks = row, call_id, parent, start, end, position
                row = 0
                # point below: left-raised
                left.append([None, error, wrapped, ready, marks, (body, info)])
            try:
                _finish(left, outer)
            except BaseException:
                # Struck again within microseconds; a third time leaves it to the next call.
                _finish(left, outer)
                raise
            raise

    return wrapper


# By thread: what an interruption left undone. A dict's and a list's own operations are atomic, and
# listing a call takes no frame: there may be no room for one. An entry is the call, or None and
# behind the error what the hot path knows of it: wrapper, ready rows, how far it came, parameters.
# It stays listed until it is finished, whatever strikes meanwhile.
_unfinished: dict[int, list[list[Any]]] = {}


def _resumed(entry: list[Any]) -> OpenCall:
    """The call of an entry that the hot path listed."""
    _, error, wrapped, ready, marks, captured = entry
    opened = OpenCall.resumed(wrapped.tool, wrapped.callee, ready, marks)
    opened.body, info = captured
    opened.flags = info >> 8
    if error is not None and marks[4]:
        # With an end the function had returned: what struck later is not its error.
        entry[1] = None
    return opened


def _finish(left: list[list[Any]], outer: int | Pair) -> None:
    """Finish what is *left* in this thread and restore the context."""
    try:
        for entry in left[:]:
            opened = entry[0]
            if opened is None:
                made = _resumed(entry)
                # A signal handler's own calls come by here, too; nothing gets in between these.
                if entry[0] is None:
                    entry[0] = made
                opened = entry[0]
            if opened.is_finishing:
                continue
            opened.is_finishing = True
            try:
                if opened.call_id:
                    opened.end(entry[1])
                left.remove(entry)  # point: left-finished
            except ValueError:
                # A signal handler's own call has finished it meanwhile.
                pass
            finally:
                opened.is_finishing = False
    finally:
        if not worker.is_collecting:
            current_call.set(outer)


def is_seen(tool: Tool, observer: str = TRACKED) -> bool:
    """True when the call that begins now is one that another observer has begun already."""
    outer = current_call.get()
    return type(outer) is Seen and outer.is_seen_by(observer, tool.name)


def _detour(wrapped: _Wrapped, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a plain function by the long way: first calls, detail, long parameters."""
    route = worker.route(wrapped.tool)
    if not route.is_recorded or is_seen(wrapped.tool):
        return wrapped.function(*args, **kwargs)
    opened = OpenCall(wrapped.tool, wrapped.callee)
    try:
        given = args[1:] if wrapped.skip else args
        opened.open(given, kwargs, route)
        result = wrapped.function(*args, **kwargs)
        opened.close()
        return result
    except BaseException as error:
        left = _unfinished.setdefault(get_ident(), [])
        left.append([opened, None if opened.end_ns else error])
        try:
            _finish(left, opened.outer)
        except BaseException:
            _finish(left, opened.outer)
            raise
        raise


def _track_chosen(wrapped: _Wrapped) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if wrapped.tool.bound is None or is_seen(wrapped.tool):
            return wrapped.function(*args, **kwargs)
        opened = OpenCall(wrapped.tool, wrapped.callee)
        try:
            opened.open(*wrapped.given(args, kwargs))
            result = wrapped.function(*args, **kwargs)
            opened.close()
            return result
        except BaseException as error:
            left = _unfinished.setdefault(get_ident(), [])
            left.append([opened, None if opened.end_ns else error])
            try:
                _finish(left, opened.outer)
            except BaseException:
                _finish(left, opened.outer)
                raise
            raise

    return wrapper


# --- coroutines and generators --------------------------------------------------------------------


def _track_coroutine(wrapped: _Wrapped) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if wrapped.tool.bound is None or is_seen(wrapped.tool):
            return await wrapped.function(*args, **kwargs)
        opened = OpenCall(wrapped.tool, wrapped.callee)
        try:
            opened.open(*wrapped.given(args, kwargs), timed_cpu=False)
            result = await wrapped.function(*args, **kwargs)
            opened.close()
            return result
        except BaseException as error:
            left = _unfinished.setdefault(get_ident(), [])
            left.append([opened, None if opened.end_ns else error])
            try:
                _finish(left, opened.outer)
            except BaseException:
                _finish(left, opened.outer)
                raise
            raise

    return wrapper


class _Steps:
    """A generator's call: current inside each step, never between two."""

    __slots__ = ("_opened", "_outer")

    def __init__(self, wrapped: _Wrapped, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._opened = OpenCall(wrapped.tool, wrapped.callee)
        self._outer: int | Pair = 0
        if not is_seen(wrapped.tool):
            self._opened.begin(*wrapped.given(args, kwargs))

    def __enter__(self) -> None:
        self._outer = current_call.get()
        if self._opened.call_id:
            self._opened.enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._opened.call_id and not worker.is_collecting:
            current_call.set(self._outer)

    def end(self, error: BaseException | None = None) -> None:
        """The generator is exhausted, closed or failed."""
        if self._opened.call_id:
            self._opened.end(None if isinstance(error, GeneratorExit) else error)


def _track_generator(wrapped: _Wrapped) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = wrapped.function(*args, **kwargs)
        steps = _Steps(wrapped, args, kwargs)
        try:
            result = yield from _step_through(generator, steps)
        except BaseException as error:
            steps.end(error)
            raise
        steps.end()
        return result

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


def _track_async_generator(wrapped: _Wrapped) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = wrapped.function(*args, **kwargs)
        steps = _Steps(wrapped, args, kwargs)
        step: Callable[[], Any] = generator.__anext__
        try:
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
        except BaseException as error:
            steps.end(error)
            raise
        steps.end()

    return wrapper


# --- classes and blocks ---------------------------------------------------------------------------


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
        self._enter(timed_cpu=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            self._opened.close(error)

    async def __aenter__(self) -> Self:
        self._enter(timed_cpu=False)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            self._opened.close(error)

    @property
    def id(self) -> str | None:
        """The call's id while it is recorded, else None."""
        opened = self._opened
        return hex_id(opened.call_id) if opened is not None and opened.call_id else None

    def annotate(self, **metadata: Any) -> None:
        """Add to the call's metadata, which optimization mode keeps."""
        if self._opened is not None:
            self._opened.annotate(metadata)

    def _enter(self, *, timed_cpu: bool) -> None:
        if self._tool.bound is not None:
            self._opened = OpenCall(self._tool, named_callee(self._tool))
            self._opened.open((), self._params, timed_cpu=timed_cpu)


def named_callee(tool: Tool) -> int:
    """The line of the name table for calls whose parameters carry their names."""
    number = tool.callees.get(Callee(tool.name))
    return worker.callee(tool, Callee(tool.name)) if number is None else number
