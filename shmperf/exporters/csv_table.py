"""
Kept calls as comma-separated values (RFC 4180, UTF-8, lines end in CR LF), a line a call.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line's end for a
formula, and a tool's parameters are foreign text: such a text gets an apostrophe before it, which
spreadsheets show as text. Whoever reads the file by program strips it from those cells. What is not
known (the end of an aborted call) is an empty cell.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator

from shmperf.storage.kept import KeptCall

__all__ = ["COLUMNS", "export"]

COLUMNS = (
    "tool",
    "timestamp",
    "id",
    "parent",
    "trace",
    "pid",
    "ms",
    "status",
    "err",
    "params",
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_CHUNK_CHARACTERS = 1 << 16


def export(calls: Iterable[KeptCall]) -> Iterator[bytes]:
    """A line of column names, then *calls* in their order; at most about 64 KiB a chunk."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for call in calls:
        writer.writerow(_row(call))
        if text.tell() >= _CHUNK_CHARACTERS:
            yield _taken(text)
    yield _taken(text)


def _taken(text: io.StringIO) -> bytes:
    # A lone surrogate is no UTF-8: written as its escape.
    chunk = text.getvalue().encode("utf-8", "backslashreplace")
    text.seek(0)
    text.truncate()
    return chunk


def _row(call: KeptCall) -> tuple[str | int | float, ...]:
    return (
        _cell(call.tool),
        _cell(call.timestamp),
        _cell(call.id),
        _cell(call.parent),
        _cell(call.trace),
        "" if call.pid is None else call.pid,
        _milliseconds(call.duration_s),
        _cell(call.status),
        _cell(call.err),
        _cell(call.params),
    )


def _cell(text: str | None) -> str:
    if not text:
        return ""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _milliseconds(seconds: float | None) -> float | str:
    """To the nanosecond; empty for what is no number."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    return round(seconds * 1000, 6)
