"""When a session that keeps itself is over: nobody has been there for a while, all is written."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Ending"]


class Ending:
    """How long it has been quiet, and how long a disk has been waited for."""

    def __init__(self, linger_s: float, patience_s: float, clock: Callable[[], float]) -> None:
        """Over after *linger_s* without a worker; a disk gets *patience_s* to come back."""
        self._linger_s = linger_s
        self._patience_s = patience_s
        self._clock = clock
        self._quiet_since_s: float | None = None
        self._give_up_at_s: float | None = None

    def is_near(self, *, is_wanted: bool) -> bool:
        """True once the collector has not been wanted for a while."""
        if is_wanted:
            self._quiet_since_s = self._give_up_at_s = None
            return False
        now = self._clock()
        if self._quiet_since_s is None:
            self._quiet_since_s = now
        return now - self._quiet_since_s >= self._linger_s

    def put_off(self) -> None:
        """Somebody comes in, or something is still to be written: count from the next look on."""
        self._quiet_since_s = None

    def is_patience_over(self) -> bool:
        """True once a storage that can't be written has had its time to come back."""
        now = self._clock()
        if self._give_up_at_s is None:
            self._give_up_at_s = now + self._patience_s
        return now >= self._give_up_at_s
