"""
How long what was recorded stays: a moment before which lines, segments, reports and alerts go.

Whoever owns a kind of file takes its own part in this: history and segments go through the journal,
see `archive`; what nothing else depends on is deleted here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .lines import timestamp
from .reports import FOLDER, SUFFIXES, is_name

__all__ = ["cutoff_of", "delete_old_reports", "is_older"]


_DAY_NS = 86_400_000_000_000


def cutoff_of(retention_days: float, now_ns: int) -> str | None:
    """The ``timestamp`` before which everything goes; None when it stays for ever."""
    if not retention_days:
        return None
    return timestamp(max(0, now_ns - int(retention_days * _DAY_NS)))


def is_older(stamp: str, cutoff: str) -> bool:
    """True for a ``timestamp`` of ours, or a report's name, that lies before *cutoff*."""
    if "-" in stamp[:8]:
        return stamp < cutoff
    return stamp[:15] < cutoff.translate({ord("-"): None, ord(":"): None})[:15]


def delete_old_reports(storage: Path, cutoff: str) -> Iterator[None]:
    """Delete reports of before *cutoff*, one after the other."""
    try:
        names = os.listdir(storage / FOLDER)  # noqa: PTH208  names, not paths
    except OSError:
        return
    for name in names:
        path = storage / FOLDER / name
        if path.suffix in SUFFIXES and is_name(path.stem) and is_older(path.stem, cutoff):
            # What can't be deleted stays, and keeps nothing else.
            with contextlib.suppress(OSError):
                path.unlink()
            yield
