"""
The class that a method was written in, for those who make that class anew.

Where a method says ``super()`` or ``__class__``, the compiler gives it a cell that holds its class.
A decorator that returns another class in its place (attrs with slots) goes through the methods of
the new one, looks for such a cell among what they close over, and puts the new class into it. Of a
method that is wrapped it would find the wrapper's cells alone, and ``super()`` would fail.

So what we put in a method's place closes over that cell, too, though it has no use for it.

Why not a variable of the enclosing function: that would be a cell of its own, made beside the
method's, and every wrapper would pay for one. Why not ``__wrapped__``: attrs does not look there.
"""

from __future__ import annotations

from opcode import opmap
from types import FunctionType
from typing import Any

__all__ = ["with_class_of"]

_CELL = "__class__"
_COPY_FREE = opmap.get("COPY_FREE_VARS")
# The instruction's argument is one byte.
_MOST_CELLS = 255


def with_class_of(function: Any, made: Any) -> Any:
    """*made*, closing over the class that *function* knows as its own, if it knows one."""
    if type(function) is not FunctionType or _CELL not in function.__code__.co_freevars:
        return made
    known = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    its_code, cells = made.__code__, made.__closure__ or ()
    first = its_code.co_code
    if not cells or first[0] != _COPY_FREE or len(cells) >= _MOST_CELLS:
        # Another interpreter than those that we know: as it is with other people's decorators.
        return made
    # The last of its variables: all others stay where they are.
    again = its_code.replace(
        co_freevars=(*its_code.co_freevars, _CELL),
        co_code=bytes((first[0], len(cells) + 1)) + first[2:],
    )
    return FunctionType(again, made.__globals__, made.__name__, None, (*cells, known[_CELL]))
