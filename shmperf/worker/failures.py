"""
Whose exception it is that strikes in code of ours: the program's passes, ours never does.

A tool call goes on whatever fails in tracking it: memory, descriptors, a clock. But a program's own
time limit or interruption may strike anywhere, also in the middle of our code, and it must arrive.
What tells them apart:

    no ``Exception``          KeyboardInterrupt, SystemExit, cancellations: the program's
    a class of its own        what libraries set in other threads, or raise from handlers
    beneath a signal handler  the traceback leads through one that is installed
    anything else             ours, and so is what hooks of imports raise, whatever its class

In the middle of foreign code (a ``repr``, a property, an interceptor's hook) a class of its own
tells nothing, as that code may raise what it likes and nobody is to hear of it: there the handler
among the frames is all that tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from inspect import CO_VARARGS
from opcode import opmap
from signal import NSIG, getsignal
from types import CodeType, FunctionType, MethodType, TracebackType
from typing import Any

__all__ = ["is_handlers", "is_programs"]

# Where the classes are at home that code of ours, and what it calls, raises.
_OUR_HOMES = frozenset({"builtins", "shmperf", "msgspec", "socket", "struct", "zipimport", "zlib"})
_IMPORTS = "<frozen importlib._bootstrap"
_IMPORT_NAME = opmap["IMPORT_NAME"]
_SIGNALS = range(1, NSIG)


def is_programs(error: BaseException) -> bool:
    """
    True when *error*, which struck in code of ours, is to reach the program.

    Asked in the frame that has caught it, of what neither a tool nor another foreign function
    called from there has raised.
    """
    if not issubclass(type(error), Exception):
        return True
    home = type(error).__module__
    traceback = error.__traceback__
    if type(home) is not str or home.partition(".")[0] not in _OUR_HOMES:
        return not _is_of_an_import_hook(traceback) or _is_handlers(traceback)
    # With no frame beneath the one that asks, something written in C has failed.
    return traceback is not None and traceback.tb_next is not None and _is_handlers(traceback)


def is_handlers(error: BaseException) -> bool:
    """
    True when a signal handler has raised *error*, which is to reach the program.

    Asked in the frame that has caught it, of what has struck in foreign code that we have called. A
    handler that is uninstalled before it raises, or an exception that another thread has set, is
    taken for that code's own.
    """
    return _is_handlers(error.__traceback__)


def _is_handlers(traceback: TracebackType | None) -> bool:
    """True when a signal handler is among the frames."""
    codes = set()
    while traceback is not None:
        code = traceback.tb_frame.f_code
        # It gets a number and a frame. Most have no such frame, and to ask for the handlers takes
        # as long as fifty calls.
        if code.co_argcount > 1 or code.co_flags & CO_VARARGS:
            codes.add(code)
        traceback = traceback.tb_next
    return bool(codes) and not codes.isdisjoint(_handlers())


def _is_of_an_import_hook(traceback: TracebackType | None) -> bool:
    """
    True when what an import calls has raised it: a finder, a loader, an ``__import__`` of its own.

    A sandbox says so that something may not be imported, by an error of a class of its own. Where a
    module's own code is interrupted in its import, its frame is in between.
    """
    while traceback is not None and (beneath := traceback.tb_next) is not None:
        code, called = traceback.tb_frame.f_code, beneath.tb_frame.f_code
        if called.co_name != "<module>" and not called.co_filename.startswith(_IMPORTS):
            if code.co_filename.startswith(_IMPORTS):
                return True
            if code.co_code[traceback.tb_lasti] == _IMPORT_NAME:
                return True
        traceback = beneath
    return False


def _handlers() -> Iterator[CodeType]:
    """The code of the handlers that are installed, where they are written in Python."""
    for number in _SIGNALS:
        handler: Any = getsignal(number)
        while type(handler) is partial:
            handler = handler.func
        if type(handler) is MethodType:
            handler = handler.__func__
        if type(handler) is not FunctionType:
            # Of an object, what its class makes of being called; of the system's own ones, nothing.
            handler = vars(type(handler)).get("__call__")
        if type(handler) is FunctionType:
            yield handler.__code__
