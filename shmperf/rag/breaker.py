"""
A circuit breaker over facts: a tool that only fails is left out, and tried again after a while.

    closed ──(so many calls in a row have failed)──► open ──(cool-down is over)──► half-open
       ▲                                              ▲                                │
       │                                              └──────(it has failed)───────────┤
       └──────────────────────────────────(it has succeeded)───────────────────────────┘

Half-open, one query gets the tool, which counts as unknown there; the others go on without it
until the trial's call has ended, or a further cool-down has passed because nobody called.

The caller keeps the breaker, as the state belongs to whoever chooses. Nobody has to report calls
to it: it compares the counts that `rank` finds with those of the query before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

__all__ = ["CircuitBreaker"]


class _Circuit(msgspec.Struct):
    calls: int = 0
    failed: int = 0
    streak: int = 0
    state: str = "closed"
    retry_at_s: float = 0.0


class CircuitBreaker:
    """
    Open after *failures* failed calls in a row, for *cooldown_s* seconds; any thread.

    *clock* gives seconds that never go back, as ``time.monotonic`` does.
    """

    def __init__(
        self,
        failures: int = 5,
        cooldown_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failures < 1 or not cooldown_s > 0:
            raise ValueError(f"found {failures} failures and {cooldown_s} s, expected more than 0")
        self._failures = failures
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}
        self._lock = threading.Lock()

    def state(self, name: str) -> str:
        """``closed``, ``open`` or ``half-open``, as it was left by the last look."""
        with self._lock:
            circuit = self._circuits.get(name)
            return "closed" if circuit is None else circuit.state

    def look(self, name: str, calls: int, failed: int) -> str:
        """
        What a query may do with a tool of which so many calls have ended, so many of them failed.

        ``closed``: as usual. ``half-open``: this query tries it. ``open``: without it.
        """
        with self._lock:
            circuit = self._circuits.setdefault(name, _Circuit())
            self._count(circuit, calls, failed)
            if circuit.state == "closed" or self._clock() < circuit.retry_at_s:
                return "closed" if circuit.state == "closed" else "open"
            circuit.state = "half-open"
            circuit.retry_at_s = self._clock() + self._cooldown_s
            return "half-open"

    def _count(self, circuit: _Circuit, calls: int, failed: int) -> None:
        ended, errors = calls - circuit.calls, failed - circuit.failed
        circuit.calls, circuit.failed = calls, failed
        if ended <= 0 or errors < 0:
            # Nothing new; or a cleanup, or a collector that has just not answered.
            return
        if errors < ended:
            circuit.streak, circuit.state = 0, "closed"
            return
        circuit.streak += errors
        if circuit.state != "closed" or circuit.streak >= self._failures:
            if circuit.state != "open":
                circuit.retry_at_s = self._clock() + self._cooldown_s
            circuit.state = "open"
