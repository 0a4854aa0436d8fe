"""
The totals of every tool, and which of them have changed since somebody looked.

A change is counted apart until it is taken: what is known is what is journalled.
"""

from __future__ import annotations

import time

from .totals import Totals

__all__ = ["ToolTotals"]


class ToolTotals:
    """An analysis (see `table`): ``known`` maps a tool to its totals since the last cleanup."""

    def __init__(self) -> None:
        self.known: dict[str, Totals] = {}
        # Beyond those of a collector before: its sink may still ask for what has come after them.
        self.revision = time.monotonic_ns()
        self._changed_at: dict[str, int] = {}
        self._new: dict[str, Totals] = {}

    def of(self, tool: str) -> Totals:
        """Where calls of *tool* are to be counted now."""
        found = self._new.get(tool)
        if found is None:
            found = self._new[tool] = Totals()
        return found

    def changed_after(self, revision: int) -> dict[str, Totals]:
        """Totals that have changed after that *revision* of any process; -1: all."""
        changed_at = self._changed_at
        return {tool: one for tool, one in self.known.items() if changed_at.get(tool, 0) > revision}

    def take_delta(self) -> dict[str, Totals] | None:
        """What was counted since the last delta."""
        delta, self._new = self._new, {}
        if not delta:
            return None
        self.apply(delta)
        return delta

    def apply(self, delta: dict[str, Totals]) -> None:
        """Add *delta*."""
        self.revision += 1
        for tool, totals in delta.items():
            self._changed_at[tool] = self.revision
            known = self.known.get(tool)
            if known is None:
                known = self.known[tool] = Totals()
            known.merge(totals)

    def clear(self) -> None:
        """Forget everything."""
        self.known, self._new = {}, {}
        self._changed_at.clear()

    def state(self) -> dict[str, Totals]:
        """All totals."""
        return self.known

    @classmethod
    def restore(cls, state: dict[str, Totals]) -> ToolTotals:
        """Totals that were written before; all of them are news."""
        found = cls()
        found.known = state
        found.revision += 1
        found._changed_at = dict.fromkeys(state, found.revision)
        return found
