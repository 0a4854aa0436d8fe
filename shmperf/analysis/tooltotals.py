"""
The totals of every tool, and which of them have changed since somebody looked.

A change is counted apart until it is taken: what is known is what is journalled. It has parts, one
for each interval in which calls of it ended, and one for calls that count in none.

Of a sampled tool what its calls without a record took is estimated before that. How many of them
the histogram lacks is seen from the totals themselves, so that a collector that is killed leaves
none out and none twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from .totals import Totals
from .weights import Shape

__all__ = ["ToolTotals"]


class ToolTotals:
    """An analysis (see `table`): ``known`` maps a tool to its totals since the last cleanup."""

    def __init__(self) -> None:
        self.known: dict[str, Totals] = {}
        # Beyond those of a collector before: its sink may still ask for what has come after them.
        self.revision = time.monotonic_ns()
        self._changed_at: dict[str, int] = {}
        self._part: int | None = None
        self._parts: dict[int | None, dict[str, Totals]] = {}
        self._new: dict[str, Totals] = {}
        self._shapes: dict[str, Shape] = {}
        self.turn(None)

    def turn(self, part: int | None) -> None:
        """Count in that *part* of the change from now on: an interval's number, None for none."""
        self._part = part
        self._new = self._parts.setdefault(part, {})

    def of(self, tool: str) -> Totals:
        """Where calls of *tool* are to be counted now."""
        found = self._new.get(tool)
        if found is None:
            found = self._new[tool] = Totals()
        return found

    def is_sampled(self, tool: str) -> bool:
        """True when calls of *tool* have been counted without a record."""
        known, new = self.known.get(tool), self._new.get(tool)
        return bool((known and known.sampled_out) or (new and new.sampled_out))

    def shape_of(self, tool: str) -> Shape:
        """What the ordinary calls of a sampled *tool* take."""
        found = self._shapes.get(tool)
        if found is None:
            found = self._shapes[tool] = Shape()
        return found

    def _estimate(self) -> None:
        """Give durations to what was counted without a record since the last delta."""
        for tools in self._parts.values():
            for tool in self._shapes.keys() & tools.keys():
                self._shapes[tool].spread(tools[tool], tools[tool].missing)

    def _estimate_rest(self, delta: dict[str, Totals]) -> None:
        """The same for what was counted when there was no shape yet; no interval knows of it."""
        for tool in self._shapes.keys() & delta.keys() & self.known.keys():
            if missing := self.known[tool].missing:
                delta[tool] = _copy(delta[tool])
                self._shapes[tool].spread(delta[tool], missing)

    def parts(self) -> dict[int, dict[str, Totals]]:
        """What was counted since the last delta, by interval; it never changes once it is taken."""
        self._estimate()
        return {part: tools for part, tools in self._parts.items() if part is not None and tools}

    def changed_after(self, revision: int) -> dict[str, Totals]:
        """Totals that have changed after that *revision* of any process; -1: all."""
        changed_at = self._changed_at
        return {tool: one for tool, one in self.known.items() if changed_at.get(tool, 0) > revision}

    def take_delta(self) -> dict[str, Totals] | None:
        """What was counted since the last delta."""
        self._estimate()
        parts, self._parts = self._parts, {}
        self.turn(self._part)
        delta = _sum([tools for tools in parts.values() if tools])
        if not delta:
            return None
        self._estimate_rest(delta)
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
        self.known, self._parts, self._shapes = {}, {}, {}
        self.turn(self._part)
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


def _sum(parts: Sequence[dict[str, Totals]]) -> dict[str, Totals]:
    """All *parts* in one; none of them is changed."""
    if len(parts) == 1:
        return dict(parts[0])
    found: dict[str, Totals] = {}
    for tools in parts:
        for tool, totals in tools.items():
            if tool in found:
                found[tool].merge(totals)
            else:
                found[tool] = _copy(totals)
    return found


def _copy(totals: Totals) -> Totals:
    return msgspec.structs.replace(totals, histogram=dict(totals.histogram))
