"""
Totals and counters as the dictionaries that people and programs read.

One place builds them, so that a running collector, a directory without one and a process that does
not track answer in the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .totals import Totals

__all__ = ["Books", "all_stats", "empty_stats", "tool_stats"]


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """The session's counters, cleanups subtracted; ``lost`` is what the rows say in sum."""

    begun: int = 0
    lost: int = 0
    losses: dict[str, int] = {}
    faults: dict[str, int] = {}
    optimization: bool = False
    workers: int = 0
    complete: bool = True

    def lost_by_cause(self) -> dict[str, int]:
        """
        Lost calls by cause; in sum exactly those that the workers' rows count.

        A row is marked before its cause is counted, so a worker killed between leaves one whose
        cause is unknown. Causes that say more than the rows were damaged, and are cut.
        """
        found: dict[str, int] = {}
        rest = self.lost
        for cause, count in self.losses.items():
            if share := min(count, rest):
                found[cause] = share
                rest -= share
        if rest > 0:
            found["unknown"] = found.get("unknown", 0) + rest
        return found


def tool_stats(tool: str, totals: Totals | None, size: int, limit: int) -> dict[str, Any]:
    """One tool's statistics; zeros and nulls where nothing is known."""
    known = totals if totals is not None else Totals()
    return known.stats(tool, current_size=size, max_size=limit)


def all_stats(
    totals: Mapping[str, Totals],
    sizes: Mapping[str, int],
    limit_of: Callable[[str], int],
    books: Books,
) -> dict[str, Any]:
    """Statistics of all tools, and the books: begun = total + lost + aborted + in flight."""
    finished = sum(found.count for found in totals.values())
    aborted = sum(found.aborted for found in totals.values())
    lost = books.lost_by_cause()
    return {
        "total_calls": finished,
        "mode": "optimization" if books.optimization else "normal",
        "tools_tracked": len(totals),
        "tool_stats": {
            tool: tool_stats(tool, found, sizes.get(tool, 0), limit_of(tool))
            for tool, found in sorted(totals.items())
        },
        "begun": books.begun,
        "in_flight": books.begun - finished - aborted - sum(lost.values()),
        "aborted": aborted,
        "lost": lost,
        "faults": dict(books.faults),
        "workers": books.workers,
        "complete": books.complete,
    }


def empty_stats(tool: str | None = None, *, mode: str = "off") -> dict[str, Any]:
    """What a process that does not track answers: zeros."""
    if tool is not None:
        return tool_stats(tool, None, 0, 0)
    return {**all_stats({}, {}, lambda _: 0, Books()), "mode": mode}
