"""
Memory that nobody needs any more, given back to the system once a flush is through.

Thousands of calls wait to be written and then go all at once; what is allocated meanwhile and
stays lies above them, and the C library gives back only what lies above everything. This asks it
to look everywhere, which takes 0.15 ms: after a flush, not too often, and only where C can ask it.
"""

from __future__ import annotations

from collections.abc import Callable

from shmperf.compiled.chosen import hot

__all__ = ["Heap"]

_INTERVAL_S = 0.1


class Heap:
    """What this process has of memory; the collector's thread."""

    def __init__(
        self,
        clock: Callable[[], float],
        give_back: Callable[[], object] | None = None if hot is None else hot.give_back,
    ) -> None:
        """*clock* tells seconds."""
        self._clock = clock
        self._give_back = give_back
        self._has_shrunk = False
        self._next_s = 0.0

    def note_flush(self) -> None:
        """All that was to be written is written."""
        self._has_shrunk = True

    def look(self) -> None:
        """Give back what is free, if there may be some, and not too often."""
        if not self._has_shrunk or self._give_back is None or self._clock() < self._next_s:
            return
        self._has_shrunk = False
        self._next_s = self._clock() + _INTERVAL_S
        self._give_back()
