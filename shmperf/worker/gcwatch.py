"""
Which thread collects garbage now: a call that is made meanwhile must not touch the context.

Before 3.12 a collection begins in the middle of any allocation, one inside ``ContextVar.set`` too,
and setting a variable from there crashes the interpreter: a call that a finaliser or a callback
makes meanwhile is recorded without becoming current. Later versions collect between bytecodes.

What the interpreter calls as a collection begins and ends is made of built-in functions alone.
In a function written in Python a signal handler could run, and what it raises (KeyboardInterrupt,
a timeout) would be dropped by the interpreter instead of reaching the program.
"""

from __future__ import annotations

import gc
import sys
from collections import defaultdict
from functools import partial

from shmperf.stdlib import get_ident

__all__ = ["collecting", "is_collecting", "watch_collections"]


class _Collecting(defaultdict[object, int]):
    stop = property(dict.clear)

    def __reduce__(self) -> str:
        return "collecting"


# The thread's id while it collects, else nothing. One mapping for ever: wrappers hold it.
collecting = _Collecting(get_ident)


class _Beginning:
    # A key that is missing is added, with what `get_ident` says.
    start = property(collecting.__getitem__)


# Called with the phase, "start" or "stop", and a dict: reads that property, or does nothing.
_begins = partial(getattr, _Beginning())
_ends = partial(getattr, collecting)
_nothing = partial(getattr, None)
_collect = gc.collect


def watch_collections() -> None:
    """Know from now on when garbage is collected, where that matters."""
    if sys.version_info >= (3, 12):
        return
    callbacks = gc.callbacks
    if _begins not in callbacks:
        callbacks.insert(0, _begins)
    if callbacks[-1] is not _ends:
        # Others may have come in behind, whose calls belong to the collection, too. No one may
        # change places: this may be one of their calls, and a place be skipped.
        if _ends in callbacks:
            callbacks[callbacks.index(_ends)] = _nothing
        callbacks.append(_ends)


def is_collecting() -> bool:
    """True in a collection of garbage that must not touch the context."""
    if not collecting or get_ident() not in collecting.values():
        return False
    watch_collections()
    # Its end is not told where there is no memory to tell it. In a collection this does nothing;
    # otherwise the youngest objects are looked at, and that ends as it should.
    _collect(0)
    return bool(collecting)
