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
from collections.abc import Iterable, Iterator

from shmperf.storage.kept import KeptCall

from .columns import CALLS, values_of

__all__ = ["export"]

# The full-width forms count as the others where such are typed.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CHUNK_CHARACTERS = 1 << 16


def export(calls: Iterable[KeptCall]) -> Iterator[bytes]:
    """A line of column names, then *calls* in their order; at most about 64 KiB a chunk."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(CALLS)
    for call in calls:
        writer.writerow(map(_cell, values_of(call)))
        if text.tell() >= _CHUNK_CHARACTERS:
            yield _taken(text)
    yield _taken(text)


def _taken(text: io.StringIO) -> bytes:
    # A lone surrogate is no UTF-8: written as its escape.
    chunk = text.getvalue().encode("utf-8", "backslashreplace")
    text.seek(0)
    text.truncate()
    return chunk


def _cell(value: str | float | None) -> str | int | float:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else value
