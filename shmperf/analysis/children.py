"""
The children of one call: how many and how long by tool, and what part of the call they cover.

A child is a row as long as rows are few. A parent of many children keeps their sum instead: its
size is bounded, and rows can be added to it at any time. What a sum cannot keep is counted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter
from typing import TypeAlias

import msgspec

__all__ = [
    "MOST_NS",
    "Child",
    "Family",
    "Tools",
    "add_up",
    "bounded",
    "covered_within",
    "settled_tools",
    "sum_of",
]

# start_ns, end_ns, id, tool: sorted, rows are in order of time. The id 0 stands for no call, but
# for time, from 0 on, that the children of a settled child covered: it is taken off the own time
# with which that child was counted.
Child: TypeAlias = tuple[int, int, int, str]
Span: TypeAlias = tuple[int, int]
# By tool: calls, total time and own time. Lists, because they are added to in place.
Tools: TypeAlias = dict[str, list[int]]

MOST_NS = (1 << 63) - 1
_time_of = itemgetter(0)


class Family(msgspec.Struct, array_like=True):
    """The sum of many children; own time is known as far as they have settled themselves."""

    tools: Tools = {}
    ids: list[int] = []
    spans: list[Span] = []
    covered_ns: int = 0
    barrier_ns: int = 0
    # Of what is summed: times, and how much is covered before each, in order.
    marks: list[Span] = []

    def take(self, rows: list[Child], most_ids: int, most_spans: int) -> int:
        """
        Add *rows*; returns how many ids and intervals were let go, in whole or in part.

        The oldest intervals become a sum when there are too many. Behind that sum stands a barrier
        in time: what an interval that comes later has before it may be in the sum already.
        """
        add_up(rows, self.tools)
        children = [row for row in rows if row[2]]
        self.ids += [row[2] for row in children]
        surplus = max(0, len(self.ids) - most_ids)
        del self.ids[most_ids:]
        barrier = self.barrier_ns
        clipped = sum([start < barrier for start, _, _, _ in children]) if barrier else 0
        self.spans += [(max(start, barrier), end) for start, end, _, _ in children]
        self.spans = _union(self.spans)
        if len(self.spans) > most_spans:
            self._sum_oldest(most_spans // 2)
        return clipped + surplus

    def covered_within(self, start: int, end: int) -> int:
        """
        The length of the union inside a call that lasted from *start* to *end*.

        Children that outlive it may fill the sum; what of that is inside is known to an eighth of
        the time from the first child on.
        """
        inside = sum(max(0, min(e, end) - max(s, start)) for s, e in self.spans)
        return min(self._summed_before(end) + inside, end - start)

    def copy(self) -> Family:
        """One that shares nothing with this, and that msgpack can write."""
        return Family(
            {tool: [bounded(count) for count in counts] for tool, counts in self.tools.items()},
            list(self.ids),
            list(self.spans),
            bounded(self.covered_ns),
            self.barrier_ns,
            [(time, bounded(covered)) for time, covered in self.marks],
        )

    def _sum_oldest(self, left: int) -> None:
        """Keep *left* intervals: half of the room, or every further child would pay for a sum."""
        oldest = self.spans[: len(self.spans) - left]
        marks, covered = self.marks, self.covered_ns
        if not marks:
            marks.append((oldest[0][0], 0))
        next_ns = _next_mark(marks)
        for start, end in oldest:
            if start > next_ns:
                marks.append((start, covered))
                next_ns = _next_mark(marks)
            covered += end - start
            if end > next_ns:
                marks.append((end, covered))
                next_ns = _next_mark(marks)
        self.covered_ns, self.barrier_ns = covered, oldest[-1][1]
        del self.spans[: len(oldest)]

    def _summed_before(self, end: int) -> int:
        """What of the sum lies before *end*; between two marks it is taken as evenly spread."""
        if end >= self.barrier_ns or not self.marks:
            return self.covered_ns
        at = bisect_right(self.marks, end, key=_time_of)
        if not at:
            return 0
        since, covered = self.marks[at - 1]
        rest = [*self.marks[at : at + 1], (self.barrier_ns, self.covered_ns)]
        until, covered_then = rest[0]
        return covered + (covered_then - covered) * (end - since) // max(1, until - since)


def add_up(rows: Iterable[Child], tools: Tools) -> Tools:
    """Add the calls, total and own time of *rows* to *tools*, and return it."""
    last = None
    calls = total_ns = covered_ns = 0
    for start, end, call_id, tool in rows:
        if tool is not last:
            if last is not None:
                _add(tools, last, calls, total_ns, covered_ns)
            last = tool
            calls = total_ns = covered_ns = 0
        if call_id:
            calls += 1
            total_ns += end - start
        else:
            covered_ns += end - start
    if last is not None:
        _add(tools, last, calls, total_ns, covered_ns)
    return tools


def covered_within(rows: list[Child], start: int, end: int) -> int:
    """Sort *rows*; returns the length of their union inside a call from *start* to *end*."""
    rows.sort()
    covered = 0
    last = start
    for begin, finish, call_id, _ in rows:
        if finish > last and call_id:
            covered += finish - (begin if begin > last else last)  # noqa: FURB136  max() costs 50 ns
            last = finish
    if last > end:
        # A child that outlived the call: rare, so the loop above has no test for it.
        clipped = [(s, min(e, end), i, tool) for s, e, i, tool in rows if s < end]
        return covered_within(clipped, start, end)
    return covered


def sum_of(rows: list[Child], start: int, end: int) -> tuple[Tools, int, list[int]]:
    """
    Of the children of a call from *start* to *end*: their sum by tool, their union, their ids.

    Sorts *rows*.
    """
    tools = add_up(rows, {})
    covered = covered_within(rows, start, end)
    return tools, covered, [row[2] for row in rows if row[2]]


def settled_tools(tools: Tools) -> dict[str, tuple[int, int]]:
    """Calls and total time of those tools that have calls."""
    return {
        tool: (calls, bounded(total_ns)) for tool, (calls, total_ns, _) in tools.items() if calls
    }


def bounded(total_ns: int) -> int:
    """*total_ns* as far as msgpack can write it: times come from other processes."""
    return max(-MOST_NS, min(total_ns, MOST_NS))


def _add(tools: Tools, tool: str, calls: int, total_ns: int, covered_ns: int) -> None:
    counts = tools.get(tool)
    if counts is None:
        tools[tool] = [calls, total_ns, total_ns - covered_ns]
    else:
        counts[0] += calls
        counts[1] += total_ns
        counts[2] += total_ns - covered_ns


def _next_mark(marks: list[Span]) -> int:
    """From when on the next mark may come: steps grow with the distance from the first."""
    return marks[-1][0] + (marks[-1][0] - marks[0][0]) // 8


def _union(spans: list[Span]) -> list[Span]:
    """The disjoint intervals, in order, that cover what *spans* cover."""
    spans.sort()
    found: list[Span] = []
    last = -1
    for start, end in spans:
        if start > last:
            if end > start:
                found.append((start, end))
                last = end
        elif end > last:
            found[-1] = found[-1][0], end
            last = end
    return found
