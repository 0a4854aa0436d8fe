"""What a storage directory fills, by what it is for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from shmperf.files import INTERNALS

from .exemplarfile import EXEMPLARS
from .filenames import SUFFIX, is_history
from .reports import FOLDER

__all__ = ["bytes_by_kind"]

# Kinds in the order in which they are shown, and the names in the directory that begin so.
_OF_FILES = ((re.compile(r"tools\.db"), "tools.db"), (re.compile(r"alerts\.jsonl"), "alerts"))
_OF_INTERNALS = (
    (re.compile(r"(snapshot|journal\.|unread-)"), "journal"),
    (re.compile(r"outbox\Z"), "outbox"),
    (re.compile(r".*\.log\Z"), "logs"),
)


def bytes_by_kind(storage: Path) -> dict[str, int]:
    """
    How many bytes the files of each kind have; kinds of which there are none are left out.

    ``history``, ``segments``, ``exemplars``, ``journal``, ``outbox``, ``reports``, ``alerts``,
    ``tools.db``, ``logs`` and ``other``. What can't be looked at counts for nothing.
    """
    found: dict[str, int] = {}
    for name, path in _entries(storage):
        if name == INTERNALS:
            for inner, below in _entries(path):
                _count(found, _kind(inner, _OF_INTERNALS), below)
        else:
            _count(found, _kind_of_file(name), path)
    return found


def _kind_of_file(name: str) -> str:
    if name.endswith(SUFFIX):
        return "history"
    if is_history(name):
        return "segments"
    if name == EXEMPLARS:
        return "exemplars"
    return "reports" if name == FOLDER else _kind(name, _OF_FILES)


def _kind(name: str, kinds: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    return next((kind for pattern, kind in kinds if pattern.match(name)), "other")


def _count(found: dict[str, int], kind: str, path: Path) -> None:
    size = _size(path)
    if size:
        found[kind] = found.get(kind, 0) + size


def _size(path: Path) -> int:
    """The bytes of a file, or of all files below a directory; links are not followed."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(_size(below) for _, below in _entries(path))
        return path.lstat().st_size
    except OSError:
        return 0


def _entries(path: Path) -> Iterator[tuple[str, Path]]:
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208  names, not paths
    except OSError:
        return
    for name in names:
        yield name, path / name
