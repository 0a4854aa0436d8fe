"""
Which calls recorded in detail may go to their files: those about whose children all is known.

A call has settled once every ring of its worker has been looked at twice after it was drained.
"""

from __future__ import annotations

from shmperf.shm.record import Call

__all__ = ["Settling"]


class Settling:
    """How often each worker has been looked at, and which calls wait for that."""

    def __init__(self) -> None:
        self._passes: dict[str, int] = {}
        # By call: its worker, and how often that had been looked at when it was drained.
        self._unsettled: dict[int, tuple[str, int]] = {}

    def passes(self, name: str) -> int:
        """How often every ring of the worker of that *name* has been looked at."""
        return self._passes.get(name, 0)

    def pass_done(self, name: str) -> None:
        """Every ring of that worker has been looked at once more."""
        done = self._passes[name] = self.passes(name) + 1
        if self._unsettled:
            self._unsettled = {
                call_id: (other, seen)
                for call_id, (other, seen) in self._unsettled.items()
                if other != name or done < seen + 2
            }

    def add(self, call_id: int, name: str, done: int) -> None:
        """A call that was drained when its worker had been looked at *done* times."""
        if self.passes(name) < done + 3:
            self._unsettled[call_id] = (name, done + 1)

    def forget(self, name: str) -> None:
        """Nothing more is to be settled of the worker of that *name*."""
        self._passes.pop(name, None)
        self._unsettled = {i: found for i, found in self._unsettled.items() if found[0] != name}

    def settled(self, calls: list[Call]) -> list[Call]:
        """Those of *calls* about which everything is known."""
        if not self._unsettled:
            return list(calls)
        return [call for call in calls if call.id not in self._unsettled]
