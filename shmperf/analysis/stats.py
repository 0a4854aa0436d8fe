"""
Totals and counters as people and programs read them.

One place builds them, so that a running collector, a directory without one and a process that does
not track answer in the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .extremes import Range
from .names import Varying, varying
from .totals import ToolStats, Totals
from .unattached import Unattached

__all__ = [
    "Books",
    "Figures",
    "News",
    "SessionStats",
    "all_stats",
    "empty_stats",
    "plain",
    "since",
    "tool_stats",
]


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """
    The session's counters, cleanups subtracted; ``lost`` is what the rows say in sum.

    ``opened`` has the calls that are open now by tool, as far as somebody sees them.
    """

    begun: int = 0
    lost: int = 0
    losses: dict[str, int] = {}
    faults: dict[str, int] = {}
    optimization: bool = False
    workers: int = 0
    complete: bool = True
    nameless: dict[str, list[str]] = {}
    opened: dict[str, int] = {}

    def lost_by_cause(self) -> dict[str, int]:
        """
        Lost calls by cause; in sum exactly those that the workers' rows count.

        A row is marked before its cause is counted, so a worker killed between leaves one whose
        cause is unknown. Causes that say more than the rows were damaged, and are cut.
        """
        shares: dict[str, int] = {}
        rest = self.lost
        for cause, count in self.losses.items():
            if share := min(count, rest):
                shares[cause] = share
                rest -= share
        if rest > 0:
            shares["unknown"] = shares.get("unknown", 0) + rest
        return shares


class Figures(msgspec.Struct, kw_only=True):
    """
    What statistics are made of; ``forgotten`` grows with every cleanup.

    ``since_ns`` is the wall time of the last one, or of the storage's begin; 0: nobody knows.
    ``extremes`` has the least and the greatest duration by tool since the mark that was asked for,
    ``failed`` the part of the totals that failed, by type of error.
    """

    totals: dict[str, Totals] = {}
    sizes: dict[str, int] = {}
    books: Books = Books()
    forgotten: int = 0
    extremes: dict[str, Range] = {}
    failed: dict[str, dict[str, Totals]] = {}
    since_ns: int = 0


class News(msgspec.Struct, kw_only=True):
    """Totals that have changed since an earlier revision; ``forgotten`` as in `Figures`."""

    revision: int = 0
    forgotten: int = 0
    totals: dict[str, Totals] = {}


class SessionStats(msgspec.Struct, kw_only=True):
    """
    Statistics of all tools, and the books: begun = total + lost + aborted + in flight.

    ``nameless`` maps a tool that stands for those without a name to the first of them, ``varying``
    has the patterns of names that seem to hold a parameter.
    """

    total_calls: int
    mode: str
    tools_tracked: int
    tool_stats: dict[str, ToolStats]
    begun: int
    in_flight: int
    aborted: int
    lost: dict[str, int]
    faults: dict[str, int]
    workers: int
    complete: bool
    nameless: dict[str, list[str]] = {}
    varying: list[Varying] = []
    unattached: Unattached = Unattached()


def since(base: Figures | None, now: Figures) -> Figures:
    """
    What *now* holds that was not there at *base*; all of it when there was a cleanup in between.

    Calls that were open at *base* belong to what came afterwards.
    """
    if base is None or base.forgotten != now.forgotten:
        return now
    totals, sizes = {}, {}
    for tool, totals_now in now.totals.items():
        known = base.totals.get(tool)
        left = totals_now if known is None else totals_now.minus(known)
        if left.count and tool in now.extremes:
            left.min_ns, left.max_ns = now.extremes[tool]
        if left.count or left.aborted:
            totals[tool] = left
            sizes[tool] = min(now.sizes.get(tool, 0), left.count + left.aborted)
    then, books = base.books, now.books
    settled = sum(earlier.count + earlier.aborted for earlier in base.totals.values())
    lost = {cause: n - then.losses.get(cause, 0) for cause, n in books.losses.items()}
    faults = {cause: n - then.faults.get(cause, 0) for cause, n in books.faults.items()}
    left_books = msgspec.structs.replace(
        books,
        begun=books.begun - settled - then.lost,
        lost=books.lost - then.lost,
        losses={cause: n for cause, n in lost.items() if n > 0},
        faults={cause: n for cause, n in faults.items() if n > 0},
    )
    return Figures(totals=totals, sizes=sizes, books=left_books, forgotten=now.forgotten)


def tool_stats(
    tool: str,
    totals: Totals | None,
    size: int,
    limit: int,
    *,
    complete: bool = True,
    in_flight: int = 0,
) -> ToolStats:
    """One tool's statistics; zeros and nulls where nothing is known."""
    known = totals if totals is not None else Totals()
    return known.stats(tool, size, limit, complete=complete, in_flight=in_flight)


def all_stats(
    totals: Mapping[str, Totals],
    sizes: Mapping[str, int],
    limit_of: Callable[[str], int],
    books: Books,
) -> SessionStats:
    """
    Statistics of all tools, and the books: begun = total + lost + aborted + in flight.

    A tool whose calls are all still open is one of them.
    """
    finished = sum(counted.count for counted in totals.values())
    aborted = sum(counted.aborted for counted in totals.values())
    lost = books.lost_by_cause()
    tools = sorted({*totals, *books.opened})
    return SessionStats(
        total_calls=finished,
        mode="optimization" if books.optimization else "normal",
        tools_tracked=len(tools),
        tool_stats={
            tool: tool_stats(
                tool,
                totals.get(tool),
                sizes.get(tool, 0),
                limit_of(tool),
                complete=books.complete,
                in_flight=books.opened.get(tool, 0),
            )
            for tool in tools
        },
        begun=books.begun,
        in_flight=books.begun - finished - aborted - sum(lost.values()),
        aborted=aborted,
        lost=lost,
        faults=dict(books.faults),
        workers=books.workers,
        complete=books.complete,
        nameless=dict(books.nameless),
        varying=varying(totals),
    )


def plain(stats: ToolStats | SessionStats) -> dict[str, Any]:
    """Statistics as the dictionary that programs get."""
    fields: dict[str, Any] = msgspec.to_builtins(stats)
    return fields


def empty_stats(tool: str | None = None, *, mode: str = "off") -> dict[str, Any]:
    """What a process that does not track answers: zeros."""
    if tool is not None:
        return plain(tool_stats(tool, None, 0, 0))
    return {**plain(all_stats({}, {}, lambda _: 0, Books())), "mode": mode}
