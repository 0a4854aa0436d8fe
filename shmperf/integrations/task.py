"""
A task that one thread hands to another thread or process: a call there, beneath who handed it over.

What is sent is a `Task`, which pickles when its function does and needs nothing patched where it
arrives: a spawned worker imports this module by unpickling it. The call is named after the function
and begins when the function does. How long the task has waited before that is the metadata
``queued_ms``, which optimization mode keeps; a normal record has no room for it, and a second
record would double cost and counts. A task that never begins, cancelled or still queued when its
pool breaks, is no call.

A task is always a call of its own: a function that hands itself on to a pool is not the call that
did so, seen again. What records its own calls in its own way (``params=`` of a decorator, coroutine
functions, generators, methods of a tracked class, what is no function) only gets its parent.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from shmperf.integrations.observer import Observer, Sight, foreign_call, shared_call
from shmperf.stdlib import perf_counter_ns
from shmperf.worker.adoption import carried
from shmperf.worker.context import current, current_call, parse_id
from shmperf.worker.process import worker
from shmperf.worker.signature import positional_names
from shmperf.worker.standin import is_stand_in
from shmperf.worker.wrappers import recipe_of, tracked_name

from .contexts import Lent, give_back, in_a_context, lend

__all__ = ["Origin", "Task", "hand_over", "is_plumbing", "perform"]

Arguments = tuple[Any, ...]

_observers: dict[str, Observer] = {}

_PLUMBING = frozenset(
    {
        "joblib._parallel_backends",
        "joblib._utils",
        "joblib.parallel",
        "joblib.pool",
        # Run a function, or a step of a chain, in a context that they have copied.
        "langchain_core.runnables.base",
        "langchain_core.runnables.config",
    }
)
_LOKY = ("joblib.externals.loky", "loky.")


class Origin(NamedTuple):
    """Who handed a task over, and when on the system's monotonic clock."""

    parent: str | None
    submitted_ns: int

    @classmethod
    def here(cls, parent: str | None = None) -> Origin:
        """Now, by the current call or by that *parent*."""
        return cls(shared_call(parent or current()), perf_counter_ns())

    @classmethod
    def of(cls, function: Any) -> tuple[Any, Origin]:
        """*function*, without the parent that `propagate` gave it, and the origin of its task."""
        found = carried(function)
        return (function, cls.here()) if found is None else (found[0], cls.here(found[1]))

    def beneath(self, function: Any) -> tuple[Any, Origin]:
        """*function*, which this one's task calls, and its origin, as for `of`."""
        found = carried(function)
        if found is None:
            return function, self
        return found[0], self._replace(parent=shared_call(found[1] or self.parent))


class Task:
    """A function on its way to where it runs; *source* is the integration that sees it."""

    __slots__ = ("function", "origin", "source")

    def __init__(self, source: str, function: Callable[..., Any], origin: Origin) -> None:
        self.source = source
        self.function = function
        self.origin = origin

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the function as a call."""
        return perform(self.source, self.origin, self.function, args, kwargs)

    def __reduce__(self) -> Any:
        return Task, (self.source, self.function, Origin(*self.origin))


def hand_over(source: str, function: Any) -> Any:
    """*function* as a `Task`; as it is where nothing is tracked, or it only looks after tasks."""
    if not callable(function) or type(function) is Task or not worker.is_wanted:
        return function
    if is_plumbing(function):
        return function
    return Task(source, *Origin.of(function))


def is_plumbing(function: Any) -> bool:
    """True for what a framework puts around tasks, or runs to look after its workers."""
    module = getattr(function, "__module__", None)
    return isinstance(module, str) and (module in _PLUMBING or module.startswith(_LOKY))


def perform(
    source: str,
    origin: Origin,
    function: Callable[..., Any],
    args: Arguments,
    kwargs: Mapping[str, Any],
    *,
    named: Any = None,
) -> Any:
    """
    What ``function(*args, **kwargs)`` returns or raises, as a call beneath *origin*'s.

    The call has the name of *function* and these parameters, or else those of ``named``: a function
    with its arguments. A function that runs another one in a context of its own (``Context.run``,
    as ``to_thread`` does) keeps doing so, and the call is in there.
    """
    context = in_a_context(function, args, kwargs)
    if context is not None:
        run, (inner, *rest), kwargs = context
        if is_plumbing(inner):
            return run(inner, *rest, **kwargs)
        return run(Task(source, *origin.beneath(inner)), *rest, **kwargs)
    observer = _observers.get(source)
    if observer is None:
        observer = _observers.setdefault(source, Observer(source))
    # A fork and a long-lived thread may have a current call, which is not the task's parent.
    before = current_call.set(0)
    lent: list[Lent] | None = None
    try:
        call = named or (function, args, kwargs)
        sight = observer.guard(_begin, observer, origin, *call)
        lent = observer.guard(lend, *call)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            # Noted and passed on.
            if sight is not None:
                observer.guard(sight.end, error)
            raise
        if sight is not None:
            observer.guard(sight.end)
        return result
    finally:
        current_call.reset(before)
        if lent:
            give_back(lent)


class _Shape(NamedTuple):
    """What a callable is called, None when it records itself, and how to name its arguments."""

    name: str | None
    names: tuple[str, ...]
    rest: str | None
    skip: bool


# By function; finding a signature takes longer than all the rest.
_shapes: WeakKeyDictionary[Any, _Shape] = WeakKeyDictionary()


def _begin(
    observer: Observer,
    origin: Origin,
    function: Any,
    args: Arguments,
    kwargs: Mapping[str, Any],
) -> Sight | None:
    while type(function) is partial:
        args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
        function = function.func
    begun_ns = perf_counter_ns()
    parent = foreign_call(origin.parent) if origin.parent else None
    shape = _shape_of(function)
    if shape.name is None:
        current_call.set(parse_id(parent))
        return None
    if parent:
        # Beneath the parent, and not the same call seen once more.
        observer.join(parent, shape.name)
    if args:
        given = args[1:] if shape.skip else args
        named = dict(zip(shape.names, given, strict=False))
        if len(given) > len(named):
            named[shape.rest or "args"] = given[len(named) :]
        kwargs = {**named, **kwargs}
    sight = observer.begin(shape.name, kwargs)
    sight.annotate(queued_ms=round((begun_ns - origin.submitted_ns) / 1e6, 3))
    return sight


def _shape_of(function: Any) -> _Shape:
    is_bound = type(function) is MethodType
    plain = function.__func__ if is_bound else function
    if is_stand_in(plain):
        return _Shape(None, (), None, skip=False)
    if not isinstance(plain, (FunctionType, type)):
        # An object may have any name, and may not be hashable.
        return _Shape(getattr(plain, "__name__", type(plain).__name__), (), None, skip=False)
    found = _shapes.get(plain)
    if found is None:
        names, rest, has_self = positional_names(plain)
        name = None if _records_itself(plain) else tracked_name(plain) or plain.__name__
        found = _shapes[plain] = _Shape(name, names, rest, has_self and type(plain) is FunctionType)
    return found._replace(skip=False) if is_bound and found.skip else found


def _records_itself(function: Any) -> bool:
    if hasattr(function, "__shmperf_method__"):
        return True
    recipe = recipe_of(function) if tracked_name(function) is not None else None
    return recipe is not None and (
        recipe[2] is not None
        or inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    )
