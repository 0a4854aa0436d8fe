"""
How nodes did over the last hour: each puts its newest intervals beside its state.

    collector's intervals ──► the newest ──► key <node>.<origin>.trend ──► all nodes' in one view

An interval that is over never changes, so they are put once in each. Their times are those of the
node's own clock: where clocks are apart, so are the nodes on the chart. Older ones are in what was
collected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from shmperf.analysis.packedtotals import IntervalTotals
from shmperf.analysis.spans import IntervalsView, Span
from shmperf.errors import FormatError
from shmperf.storage.codecs import CODECS

__all__ = ["TREND", "FleetIntervals", "decode_trend", "encode_trend"]

TREND = ".trend"
_MOST_PACKED = 96 << 10
_MOST_BYTES = 4 << 20
_ZSTD = CODECS[0]
_decode = msgspec.msgpack.Decoder(IntervalsView).decode


def encode_trend(view: IntervalsView) -> bytes:
    """The newest intervals of *view*, as many as fit in a value."""
    kept, filled = [], 0
    for one in sorted(view.kept, key=lambda one: one.start_ns, reverse=True):
        filled += one.size_bytes
        if filled > _MOST_PACKED:
            break
        kept.append(one)
    newest = msgspec.structs.replace(view, kept=kept[::-1])
    return _ZSTD.compressor()(msgspec.msgpack.encode(newest))


def decode_trend(content: bytes) -> IntervalsView:
    """What `encode_trend` has written on some machine; FormatError for anything else."""
    try:
        return _decode(_ZSTD.expand(content, _MOST_BYTES))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FormatError(f"found no intervals: {error}") from None


class FleetIntervals(IntervalsView, kw_only=True):
    """Intervals of all nodes as if of one: those of one time are one."""

    views: list[IntervalsView] = msgspec.field(default_factory=list)
    since_s: float | None = None
    until_s: float | None = None

    def spans(self) -> Iterator[Span]:
        """One interval after the other, the oldest first."""
        found: dict[tuple[float, float], Span] = {}
        for span in self._all():
            key = span.start_s, span.length_s
            known = found.get(key)
            if known is None:
                known = found[key] = Span(*key, {}, span.is_open)
            _merge(known.tools, span.tools.items())
            found[key] = known._replace(is_open=known.is_open or span.is_open)
        yield from sorted(found.values(), key=lambda span: span.start_s)

    def totals(self) -> dict[str, IntervalTotals]:
        """All of them added up, by tool."""
        found: dict[str, IntervalTotals] = {}
        for span in self._all():
            _merge(found, span.tools.items())
        return found

    def _all(self) -> Iterator[Span]:
        for view in self.views:
            one = msgspec.structs.replace(view, tool=self.tool)
            yield from (span for span in one.spans() if self._is_wanted(span))

    def _is_wanted(self, span: Span) -> bool:
        ended_s = span.start_s + span.length_s
        is_late = self.since_s is None or ended_s > self.since_s
        return is_late and (self.until_s is None or span.start_s < self.until_s)


def _merge(known: dict[str, IntervalTotals], tools: Iterable[tuple[str, IntervalTotals]]) -> None:
    for tool, totals in tools:
        if tool not in known:
            known[tool] = IntervalTotals()
        known[tool].merge(totals)
