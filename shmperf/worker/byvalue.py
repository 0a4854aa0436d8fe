"""
What a wrapper holds on to that is its process's own, and what its receiver has in its place.

A function of a notebook or a main program can't be imported elsewhere: cloudpickle (joblib, Dask,
Ray) sends its code by value, with all that its closure refers to.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import CellType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from shmperf.compiled.chosen import hot
from shmperf.shm.fence import PUBLISHED
from shmperf.shm.record import meta_of

from .context import current_call

if TYPE_CHECKING:
    from .hotpath import Wrapped

__all__ = ["ENCODER", "Number", "boost", "boost_sent", "cell_of", "fast_of"]

ENCODER = msgspec.msgpack.Encoder()


class Number(int):
    """What a wrapper knows of a line in the name table, which every process numbers itself."""

    _wrapped: Wrapped

    def __new__(cls, number: int, wrapped: Wrapped) -> Self:
        made = super().__new__(cls, number)
        made._wrapped = wrapped
        return made

    def __reduce__(self) -> Any:
        return _number, (self._wrapped, int(self) == self._wrapped.callee)


def _number(wrapped: Wrapped, plain: bool) -> Number:
    return Number(wrapped.callee if plain else meta_of(wrapped.callee, 0, 0), wrapped)


# --- objects that there is one of in each process -------------------------------------------------


def _our_context() -> ContextVar[Any]:
    return current_call


def _our_encoder() -> msgspec.msgpack.Encoder:
    return ENCODER


def _our_layout() -> Any:
    return PUBLISHED


def _pickle_alone(ours: object, ours_there: Callable[[], object]) -> None:
    """Let *ours* be pickled, and still no other object of its type."""
    kind = type(ours)

    def reduce(value: object) -> Any:
        if value is not ours:
            raise TypeError(f"cannot pickle '{kind.__module__}.{kind.__qualname__}' object")
        return ours_there, ()

    if kind not in copyreg.dispatch_table:
        copyreg.pickle(kind, reduce)


_pickle_alone(current_call, _our_context)
_pickle_alone(ENCODER, _our_encoder)
_pickle_alone(PUBLISHED, _our_layout)


# --- the compiled share ---------------------------------------------------------------------------


def fast_of(wrapper: Callable[..., Any], wrapped: Wrapped) -> Any:
    """The compiled way of *wrapper*'s calls, which does for it what is common."""
    callee, skips = int(wrapped.callee), bool(wrapped.skip)
    return hot.Fast(wrapped.function, wrapped.cell, wrapped, wrapper, callee, skips)


def cell_of(function: Any, name: str) -> CellType:
    """The cell in which *function* has its variable of that *name* from outside."""
    found: CellType = function.__closure__[function.__code__.co_freevars.index(name)]
    return found


def boost(wrapper: Callable[..., Any], wrapped: Wrapped) -> None:
    """
    Let *wrapper* be entered in C; it stays a function, with its body for all that is rare.

    On 3.11, which enters a function by its body alone, it is one that calls the compiled way, and
    has the other's body while calls are deep one inside the other.
    """
    inner = "wrapped" if sys.version_info >= (3, 12) else "fast"
    hot.boost(wrapper, wrapper.__code__.co_freevars.index(inner))
    wrapped.boosted = wrapper


def boost_sent(wrapped: Wrapped) -> None:
    """The same at the first call of one that was sent here, if this process has C."""
    wrapper, wrapped.sent = wrapped.sent, None
    if wrapper is None or hot is None:
        return
    if sys.version_info >= (3, 12):
        wrapped.cell = cell_of(wrapper, "tool")
        wrapped.fast = fast_of(wrapper, wrapped)
    boost(wrapper, wrapped)


class _Slow:
    """In the place of the compiled way where a wrapper was sent to and there is none."""

    __slots__ = ("_wrapper",)

    def __init__(self, wrapper: Callable[..., Any]) -> None:
        self._wrapper = wrapper

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapper(*args, **kwargs)

    def begin(self, *_: Any) -> None:
        return None


def _fast_again(wrapper: Callable[..., Any], wrapped: Wrapped) -> Any:
    """The compiled way of a wrapper that was sent by value."""
    wrapped.cell = cell_of(wrapper, "tool")
    if hot is None:
        return _Slow(wrapper)
    wrapped.fast = fast_of(wrapper, wrapped)
    return wrapped.fast


def _reduced(fast: Any) -> Any:
    return _fast_again, (fast.pure, fast.wrapped)


if hot is not None:
    copyreg.pickle(hot.Fast, _reduced)
