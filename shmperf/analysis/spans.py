"""What is read of intervals: as they are kept, taken apart by who reads and not by who records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from .packedtotals import IntervalTotals, Packed, chunk_of, named

__all__ = ["IntervalsView", "Span", "only_chunk_of"]


class Span(NamedTuple):
    """
    An interval: its beginning in Unix time, and what each tool did in it.

    *is_open* when it may still grow.
    """

    start_s: float
    length_s: float
    tools: dict[str, IntervalTotals]
    is_open: bool


class IntervalsView(msgspec.Struct, kw_only=True):
    """
    Intervals of some time, oldest first, of one *tool* or of all.

    *names* has the tools by place, *first_open_ns* is where the first interval begins that may
    still grow. *let_go* counts finished calls that no interval knows any more, though they are not
    30 days old.
    """

    names: list[str] = []
    kept: list[Packed] = []
    first_open_ns: int = 0
    let_go: int = 0
    tool: str | None = None

    def spans(self) -> Iterator[Span]:
        """One interval after the other. Two may overlap in time, but no call is in both."""
        for one in self.kept:
            tools = dict(self._tools_of(one))
            if tools:
                is_open = one.start_ns >= self.first_open_ns
                yield Span(one.start_ns / 1e9, one.length_ns / 1e9, tools, is_open)

    def totals(self) -> dict[str, IntervalTotals]:
        """All of them added up, by tool."""
        found: dict[str, IntervalTotals] = {}
        for one in self.kept:
            for tool, totals in self._tools_of(one):
                if tool in found:
                    found[tool].merge(totals)
                else:
                    found[tool] = totals
        return found

    def _tools_of(self, one: Packed) -> Iterator[tuple[str, IntervalTotals]]:
        for tool, totals in named(one.chunks.values(), self.names):
            if self.tool is None or tool == self.tool:
                yield tool, totals


def only_chunk_of(one: Packed, place: int) -> Packed:
    """*one* with nothing but the chunk of the tool at that *place*."""
    packed = one.chunks.get(chunk_of(place))
    chunks = {} if packed is None else {chunk_of(place): packed}
    return Packed(one.start_ns, one.length_ns, one.calls, chunks)
