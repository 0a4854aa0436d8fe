"""
Where a block begins: in a place that it leaves in order and in its own context, or anywhere else.

A ``with`` in a plain function ends in that function, after all that began inside. So does one in a
coroutine that asyncio runs, which has a context to itself. A generator's block ends wherever the
generator is closed: in another thread, in another task, after blocks that began later. So does what
an ``ExitStack``, a fixture or somebody's own code enters by calling ``__enter__``.
"""

from __future__ import annotations

import sys
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_ITERABLE_COROUTINE
from opcode import opmap
from types import CodeType, FrameType

from .failures import is_programs

__all__ = ["ends_in_order", "is_in_asyncio", "placed"]

_GENERATORS = CO_GENERATOR | CO_ASYNC_GENERATOR | CO_ITERABLE_COROUTINE
# What a ``with`` calls ``__enter__`` by; from 3.14 on that is the instruction before the call.
_WITH = opmap.get("BEFORE_WITH")
_SPECIAL = opmap.get("LOAD_SPECIAL")
_MOST_SITES = 4_096

# Of plain functions, where a ``with`` of theirs was found: the code's id and the place in it.
placed: set[tuple[int, int]] = set()
# By code object and place in it; the code object stays here, so its id is nobody else's.
_sites: dict[tuple[int, int, bool], tuple[CodeType, bool, bool]] = {}


def ends_in_order(frame: FrameType, *, awaited: bool) -> bool:
    """True when a block that begins in *frame* now ends there; *awaited* in an ``async with``."""
    code, at = frame.f_code, frame.f_lasti
    site = id(code), at, awaited
    known = _sites.get(site)
    if known is None:
        if len(_sites) >= _MOST_SITES:
            placed.clear()
            _sites.clear()
        flags = code.co_flags
        is_coroutine = bool(flags & CO_COROUTINE)
        nests = not flags & _GENERATORS and (is_coroutine if awaited else _is_with(code, at))
        known = _sites[site] = code, nests, is_coroutine
        if nests and not is_coroutine:
            placed.add((id(code), at))
    _, nests, is_coroutine = known
    return nests and (not is_coroutine or is_in_asyncio())


def is_in_asyncio() -> bool:
    """True in a task of asyncio, which has a context of its own from its first step to its last."""
    try:
        events = sys.modules.get("asyncio.events")
        return events is not None and events._get_running_loop() is not None
    except Exception as error:
        # Whoever is in none is followed more closely: no harm in that.
        if is_programs(error):
            raise
        return False


def _is_with(code: CodeType, at: int) -> bool:
    """True when the instruction *at* that place is a ``with``'s and not a call like any other."""
    instructions = code.co_code
    if _WITH is not None:
        return instructions[at] == _WITH
    return _SPECIAL is not None and at >= 2 and instructions[at - 2] == _SPECIAL
