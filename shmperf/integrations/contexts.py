"""
Contexts that a task brings along: what it runs in them belongs beneath the task's own call.

``executor.submit(context.run, function)`` is one call, in that context. A function that runs
another one in a context which it holds, ``lambda: context.run(function)``, is a call itself, and
the other one is beneath it. The context says otherwise: it was copied where the task was handed
over, and holds the call from there. Both would be siblings then, with the same time twice. So the
task's call is lent to the contexts that its function holds, for as long as it runs.

Where a context is held, as far as it is looked for: arguments, what a closure or a default holds,
and partials within those. One that somebody is in just now is theirs, and left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import Context
from functools import partial
from itertools import chain, islice
from types import BuiltinMethodType, CellType, FunctionType, MethodType
from typing import Any

from shmperf.worker.context import Pair, current_call

__all__ = ["Lent", "give_back", "in_a_context", "lend"]

Arguments = tuple[Any, ...]
# A context, what it held, and what it was lent.
Lent = tuple[Context, "int | Pair", "int | Pair"]

_MOST_VALUES = 32
_MOST_PARTIALS = 8


def in_a_context(
    function: Any, args: Arguments, kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], Arguments, Mapping[str, Any]] | None:
    """A call of ``Context.run`` with all its arguments, when this is one in the end; else None."""
    while type(function) is partial:
        args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
        function = function.func
    if type(function) is not BuiltinMethodType or not args:
        return None
    runs_another = function.__name__ == "run" and type(function.__self__) is Context
    return (function, args, kwargs) if runs_another else None


def lend(function: Any, args: Arguments, kwargs: Mapping[str, Any]) -> list[Lent]:
    """Make the current call that of the contexts which ``function(*args, **kwargs)`` holds."""
    call = current_call.get()
    lent: list[Lent] = []
    for context in _held(function, args, kwargs) if call else ():
        before = context.get(current_call, 0)
        try:
            context.run(current_call.set, call)
        except RuntimeError:
            continue  # somebody is in it, in another thread or further out in this one
        lent.append((context, before, call))
    return lent


def give_back(lent: list[Lent]) -> None:
    """Let contexts hold again what they did, where nobody has set another call since."""
    for context, before, call in reversed(lent):
        if context.get(current_call) is not call:
            continue
        try:
            context.run(current_call.set, before)
        except RuntimeError:
            continue  # it goes on there; a call that has ended is nobody's parent by itself


def _held(function: Any, args: Arguments, kwargs: Mapping[str, Any]) -> Iterator[Context]:
    values = chain(_values_of(function), args, kwargs.values())
    for value in islice(values, _MOST_VALUES):
        for one in _within(value):
            found = one.__self__ if type(one) is BuiltinMethodType else one
            if type(found) is Context:
                yield found


def _values_of(function: Any) -> Iterator[Any]:
    """What the function under its partials was given, and what it has closed over."""
    while type(function) is partial:
        yield from function.args
        yield from function.keywords.values()
        function = function.func
    plain = function.__func__ if type(function) is MethodType else function
    if type(plain) is FunctionType:
        yield from map(_content, plain.__closure__ or ())
        yield from plain.__defaults__ or ()


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # nothing yet


def _within(value: Any) -> Iterator[Any]:
    """*value*, or the functions and arguments of partials one within the other."""
    for _ in range(_MOST_PARTIALS):
        if type(value) is not partial:
            break
        yield from islice(value.args, _MOST_VALUES)
        value = value.func
    yield value
