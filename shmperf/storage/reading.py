"""
Reading history: every line once and in order, whether it stands in a file or in a segment.

Lines move from a file into segments while somebody reads, see `archive`. So the file is opened
before segments are looked for, and segments whose lines it holds are left out.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from shmperf.errors import FormatError, StoreError
from shmperf.files import open_private, shown_path

from .filenames import SUFFIX, segments_in, stem_of
from .lines import parse
from .segmentfile import LONGEST_LINE, Index, Window, doubled, read_index, segment_lines

__all__ = ["EVERYTHING", "lines_of", "read"]

_LONGEST_LINE = LONGEST_LINE
_READ = os.O_RDONLY | os.O_NONBLOCK
# The clock by which a file system stamps its files may be late by a tick.
_TICK_NS = 20_000_000
EVERYTHING = Window()


def read(
    path: Path,
    tool: str | None = None,
    is_wanted: Callable[[bytes], bool] | None = None,
    window: Window = EVERYTHING,
    tell: Callable[[str], object] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """
    The history in *path*, of one tool or of all: tool by tool, its segments first, oldest line
    first.

    For commands. Lines that are not wanted are passed over for a small part of the time; parts of
    segments in which nothing of *window* lies are not even read. What is missing of a segment is
    told, in a line, and how many wanted lines are damaged. Raises StoreError when there is no
    directory.
    """
    if not path.is_dir():
        raise StoreError(f"{path}: no such directory")
    damaged = 0
    for text in lines_of(path, tool, window, tell):
        if is_wanted is not None and not is_wanted(text):
            continue
        parsed = parse(text)
        if parsed is not None:
            yield parsed
        elif text.endswith(b"\n"):
            # The last line of a file may be one that is just being written.
            damaged += 1
    if damaged:
        lines = "1 line is" if damaged == 1 else f"{damaged:,} lines are"
        tell(f"{shown_path(path)}: {lines} damaged, and left out")


def lines_of(
    path: Path,
    tool: str | None = None,
    window: Window = EVERYTHING,
    tell: Callable[[str], object] = lambda _: None,
) -> Iterator[bytes]:
    """The same as they stand there, damaged ones too; none where there is no directory."""
    listing = _Listing(path)
    stems = [stem_of(tool)] if tool is not None else listing.stems()
    for stem in stems:
        # The file first: what leaves it for a segment from now on is read from here.
        file = _opened(path / f"{stem}.jsonl")
        try:
            names = listing.segments(stem, file)
            for number in sorted(names.keys() - _in_file(path, names, file)):
                yield from segment_lines(path / names[number], window, tell)
            if file is not None:
                file.seek(0)
                yield from _lines(file)
        finally:
            if file is not None:
                file.close()


class _Listing:
    """The segments of a directory, looked for again when a file has changed since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._renew()

    def stems(self) -> list[str]:
        """Of every tool that has a file or segments."""
        files = (path.name.removesuffix(".jsonl") for path in self._path.glob(f"*{SUFFIX}"))
        return sorted({*files, *self._found})

    def segments(self, stem: str, file: BinaryIO | None) -> dict[int, str]:
        """The segments that belong before what *file*, open by now, holds."""
        if file is not None and os.fstat(file.fileno()).st_ctime_ns > self._taken_ns:
            self._renew()
        return self._found.get(stem, {})

    def _renew(self) -> None:
        self._taken_ns = time.time_ns() - _TICK_NS
        try:
            self._found = segments_in(self._path)
        except OSError:
            self._found = {}


def _in_file(path: Path, names: Mapping[int, str], file: BinaryIO | None) -> set[int]:
    """The segments whose lines *file* holds still."""
    if file is None or not names:
        return set()
    return doubled(file, 0, {number: _index(path / name) for number, name in names.items()})


def _index(path: Path) -> Index | None:
    try:
        return read_index(path)
    except (OSError, FormatError):
        # Who reads its lines tells of it.
        return None


def _opened(path: Path) -> BinaryIO | None:
    """A plain file, open for reading; None where there is none."""
    try:
        # O_NONBLOCK: opening a pipe in the file's place must not wait for a writer.
        file = os.fdopen(open_private(path, _READ), "rb")
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    return None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file as commands read it; one that is too long is passed over whole."""
    too_long = False
    while text := file.readline(_LONGEST_LINE):
        ends = text.endswith(b"\n")
        if not too_long and (ends or len(text) < _LONGEST_LINE):
            yield text
        too_long = not ends
