"""
Totals of many tools in few bytes: what an interval that is over is kept as.

    interval ─► chunk 0    tools 0 … 255      zlib( msgpack {place: totals, …} )
             ─► chunk 1    tools 256 … 511

A tool is known by its place in a list of names. A chunk is small enough to be taken apart, added to
and packed again in a few milliseconds, so work over many tools goes on chunk by chunk; a chunk that
has no tool with calls is not there. About 12 bytes a tool with one call, 50 with twenty, 170 with a
thousand: half of what msgpack alone takes.

What can't be read (damage, another version) counts as nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from .totals import Totals

__all__ = [
    "CHUNK_BYTES",
    "INTERVAL_BYTES",
    "IntervalTotals",
    "Packed",
    "Rows",
    "chunk_of",
    "merge_chunk",
    "named",
    "unpack",
]

CHUNK_TOOLS = 256
# About what an interval, and a chunk, fill beside the packed bytes.
INTERVAL_BYTES, CHUNK_BYTES = 400, 120
# As for sums: msgpack can write no more.
_MOST_NS = (1 << 63) - 1
# What a chunk may unpack to: far beyond 256 tools with every bucket filled.
_MOST_BYTES = 4 << 20
# The fastest; the next levels take twice the time for a twentieth of the bytes.
_LEVEL = 1


class IntervalTotals(Totals, array_like=True):
    """
    What one tool did in an interval: `Totals`, and how much of its time its children took.

    ``covered_ns`` is the union of the children's times, of calls that ended in the interval;
    ``last_ended_ns`` is 0.
    """

    covered_ns: int = 0

    @property
    def own_ns(self) -> int:
        """The tool's own time, in nanoseconds: without that of the calls below."""
        return max(0, self.sum_ns - self.covered_ns)

    @classmethod
    def of(cls, totals: Totals, covered_ns: int = 0) -> IntervalTotals:
        """The same as *totals*, whose histogram it shares."""
        return cls(
            totals.count,
            totals.errors,
            totals.aborted,
            totals.sampled_out,
            totals.sum_ns,
            totals.min_ns,
            totals.max_ns,
            totals.zero_count,
            totals.histogram,
            0,
            totals.untimed,
            covered_ns,
        )

    def merge(self, other: Totals) -> None:
        """Add what *other* counted."""
        super().merge(other)
        self.last_ended_ns = 0
        if isinstance(other, IntervalTotals):
            self.covered_ns = min(self.covered_ns + other.covered_ns, _MOST_NS)

    def is_empty(self) -> bool:
        """True when nothing happened."""
        return not (self.count or self.aborted or self.sampled_out or self.covered_ns)


Rows = dict[int, IntervalTotals]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Rows).decode


class Packed(msgspec.Struct, array_like=True):
    """An interval: its beginning in Unix time, its length, its finished calls, its chunks."""

    start_ns: int
    length_ns: int
    calls: int = 0
    chunks: dict[int, bytes] = {}

    @property
    def size_bytes(self) -> int:
        """About what it fills."""
        return INTERVAL_BYTES + sum(CHUNK_BYTES + len(packed) for packed in self.chunks.values())

    def add(self, rows: Iterable[tuple[int, IntervalTotals]]) -> None:
        """Count *rows*, each with its tool's place; they are taken over."""
        parts: dict[int, Rows] = {}
        for place, totals in rows:
            parts.setdefault(chunk_of(place), {})[place] = totals
        for chunk, part in parts.items():
            self.calls += sum(totals.count for totals in part.values())
            merge_chunk(self.chunks, chunk, part)

    def pop(self, chunk: int) -> Rows:
        """Take that *chunk* out."""
        rows = unpack(self.chunks.pop(chunk))
        self.calls -= sum(totals.count for totals in rows.values())
        return rows

    def copy(self) -> Packed:
        """One that may grow while this does not."""
        return Packed(self.start_ns, self.length_ns, self.calls, dict(self.chunks))


def chunk_of(place: int) -> int:
    """Which chunk the tool at that *place* is in."""
    return place // CHUNK_TOOLS


def unpack(packed: bytes) -> Rows:
    """The totals in a chunk, by place; nothing of one that can't be read."""
    try:
        return _decode(zlib.decompressobj().decompress(packed, _MOST_BYTES))
    except (zlib.error, msgspec.MsgspecError, ValueError):
        return {}


def merge_chunk(chunks: dict[int, bytes], chunk: int, rows: Mapping[int, IntervalTotals]) -> int:
    """Add *rows*, all of that *chunk*; by how many bytes *chunks* fill more."""
    former = chunks.get(chunk)
    merged = {} if former is None else unpack(former)
    for place, totals in rows.items():
        known = merged.get(place)
        if known is None:
            merged[place] = totals
        else:
            known.merge(totals)
    packed = chunks[chunk] = zlib.compress(_encode(merged), _LEVEL)
    return len(packed) - (-CHUNK_BYTES if former is None else len(former))


def named(chunks: Iterable[bytes], names: Sequence[str]) -> Iterator[tuple[str, IntervalTotals]]:
    """The totals in *chunks*, by tool; what has no name is left out."""
    for packed in chunks:
        for place, totals in unpack(packed).items():
            if 0 <= place < len(names):
                yield names[place], totals
