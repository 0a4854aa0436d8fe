"""
What one thread at a time does, and no signal handler, finaliser or collection in its middle.

The lock keeps other threads waiting. It lets its own thread in again: a handler, ``__del__`` or the
garbage collector may call a tool in the middle of such work, and waiting for itself would never
end. Such a call is refused; whoever asked counts it.

Why not a context manager: a raising signal handler may run between a Python ``__enter__`` and the
block, and everything would be refused from then on. Between the flag and its ``try`` none can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from shmperf.stdlib import RLock

__all__ = ["Guard"]

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Guard:
    """One lock and whether its holder is in the middle of something."""

    __slots__ = ("is_busy", "lock")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In the child of a fork: whoever held the lock is not here."""
        self.lock = RLock()
        self.is_busy = False

    def run(
        self, work: Callable[[*Arguments], T], refuse: Callable[[*Arguments], T], *args: *Arguments
    ) -> T:
        """What *work* returns; what *refuse* returns when this thread is in the middle of some."""
        with self.lock:
            if self.is_busy:
                return refuse(*args)
            self.is_busy = True
            try:
                return work(*args)
            finally:
                self.is_busy = False
