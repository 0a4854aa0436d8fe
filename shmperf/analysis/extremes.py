"""
The least and the greatest duration of each tool since a mark: what totals can't be subtracted for.

Who counts from a moment on, as a fresh `OptimizedPerfTracker` does, subtracts the totals of then.
Counts, sums and histograms subtract exactly, but a minimum of all calls says nothing of those that
came later. So the moment is marked, by a name that who asks has made up, and from then on the least
and the greatest are kept beside the totals.

There are few marks at a time, one a program: the oldest gives way, and who asks for it gets an
estimate from the histogram, a bucket's width off.
"""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Extremes", "ExtremesState", "Range"]

_MOST_MARKS = 16

# The least and the greatest, in nanoseconds.
Range: TypeAlias = tuple[int, int]
ExtremesState: TypeAlias = dict[str, dict[str, Range]]


class Extremes:
    """An analysis (see `table`): ranges by mark and tool; in a delta, None is a mark that went."""

    def __init__(self) -> None:
        self.marks: ExtremesState = {}
        self._changed: dict[str, set[str]] = {}

    def begin(self, mark: str) -> None:
        """Everything that is added from now on is since *mark*."""
        while len(self.marks) >= _MOST_MARKS:
            oldest = next(iter(self.marks))
            del self.marks[oldest]
            self._changed[oldest] = set()
        self.marks[mark] = {}
        self._changed[mark] = set()

    def add(self, tool: str, least_ns: int, greatest_ns: int) -> None:
        """Calls of *tool* lasted from *least_ns* to *greatest_ns*."""
        for mark, ranges in self.marks.items():
            known = ranges.get(tool, (least_ns, greatest_ns))
            found = min(known[0], least_ns), max(known[1], greatest_ns)
            if found != ranges.get(tool):
                ranges[tool] = found
                self._changed.setdefault(mark, set()).add(tool)

    def since(self, mark: str) -> dict[str, Range]:
        """By tool; empty for a mark that is not known (any more)."""
        return dict(self.marks.get(mark, {}))

    def take_delta(self) -> dict[str, dict[str, Range] | None] | None:
        """The ranges that have changed since the last delta."""
        changed, self._changed = self._changed, {}
        delta: dict[str, dict[str, Range] | None] = {}
        for mark, tools in changed.items():
            ranges = self.marks.get(mark)
            delta[mark] = None if ranges is None else {tool: ranges[tool] for tool in tools}
        return delta or None

    def apply(self, delta: dict[str, dict[str, Range] | None]) -> None:
        """Take over *delta*."""
        for mark, ranges in delta.items():
            if ranges is None:
                self.marks.pop(mark, None)
            else:
                self.marks.setdefault(mark, {}).update(ranges)

    def clear(self) -> None:
        """Forget everything: what is counted since the last cleanup needs no mark."""
        self.marks, self._changed = {}, {}

    def state(self) -> ExtremesState:
        """All ranges."""
        return self.marks

    @classmethod
    def restore(cls, state: ExtremesState) -> Extremes:
        """Ranges that were written before."""
        found = cls()
        found.marks = state
        return found
