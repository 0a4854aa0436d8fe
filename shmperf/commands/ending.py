"""How a signal ends a command that has put something aside: as Ctrl-C does, which is unwound."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["unwound"]

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def unwound() -> Iterator[None]:
    """
    Let SIGTERM and SIGHUP, where they are not ignored, unwind what runs here; exit 128 + signal.

    Of the main thread alone.
    """
    came = []

    def end(number: int, _frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    taken = [one for one in _ENDING if signal.getsignal(one) == signal.SIG_DFL]
    for one in taken:
        signal.signal(one, end)
    try:
        yield
    except KeyboardInterrupt:
        if not came:
            raise
        raise SystemExit(128 + came[0]) from None
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)
