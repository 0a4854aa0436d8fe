"""The parameters of a function by name, read once and not at every call."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .failures import is_handlers

__all__ = ["Chosen", "positional_names"]

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
# Further on than arguments reach: a parameter that comes by its name alone.
_NOWHERE = 1 << 62


def positional_names(function: Callable[..., Any]) -> tuple[tuple[str, ...], str | None, bool]:
    """Names of the positional parameters, of the rest, and whether the first is self or cls."""
    parameters = _parameters(function)
    names = [p.name for p in parameters if p.kind in _BY_PLACE]
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), None)
    skip = bool(names) and names[0] in ("self", "cls")
    return tuple(names[skip:]), rest, skip


class Chosen:
    """
    Some parameters of a function, picked out of the arguments of its calls.

    Names that it does not have are passed over, and so are parameters that a call leaves to their
    defaults. Where one is wanted that collects the rest (``*args``, ``**kwargs``) all are bound.
    """

    __slots__ = ("_bind", "_places")

    def __init__(self, function: Callable[..., Any], names: Iterable[str]) -> None:
        names, parameters = list(names), _parameters(function)
        order = [p.name for p in parameters if p.kind in _BY_PLACE]
        wanted = {p.name: p for p in parameters if p.name in names}
        self._bind: Callable[..., inspect.BoundArguments] | None = None
        if any(p.kind in _COLLECTING for p in wanted.values()):
            self._bind = _signature_of(function).bind
        # By name: which of the arguments without one, and whether it may come by its name.
        self._places = [
            (
                name,
                order.index(name) if name in order else _NOWHERE,
                wanted[name].kind is not inspect.Parameter.POSITIONAL_ONLY,
            )
            for name in names
            if name in wanted
        ]

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The chosen ones by name; TypeError, where all are bound, when the arguments don't fit."""
        found: dict[str, Any] = {}
        bound = None if self._bind is None else self._bind(*args, **kwargs).arguments
        for name, place, is_named in self._places:
            if bound is not None:
                if name in bound:
                    found[name] = bound[name]
            elif place < len(args):
                found[name] = args[place]
            elif is_named and name in kwargs:
                found[name] = kwargs[name]
        return found


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """None for what has no signature."""
    try:
        return list(_signature_of(function).parameters.values())
    except Exception as error:
        # Foreign code, where there is one: a descriptor, or what annotations say.
        if is_handlers(error):
            raise
        return []


def _signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of *function*, whose annotations may name what type checkers alone import."""
    if sys.version_info >= (3, 14):
        # From then on they are evaluated here, unless told otherwise.
        from annotationlib import Format  # noqa: PLC0415  there is none before

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)
