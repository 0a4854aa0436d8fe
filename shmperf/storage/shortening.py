"""
A history file that begins anew: its first lines go, or others come before them.

The new file is written aside and takes the old one's name. In steps, between which lines may be
appended: the last one takes these over, too. A kill before the rename leaves the file as it was. A
kill between that and the journal leaves a file that is not the listed one, which is taken up as it
is: nothing is appended before its new state is journalled.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from shmperf.files import open_private

from .history import FileState, History

__all__ = ["Beginning", "Head", "begun_anew", "measured"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_READ = os.O_RDONLY | os.O_NONBLOCK
_STEP_BYTES = 1 << 20
_TIMESTAMP = re.compile(rb'\{"tool":"(?:[^"\\\n]|\\.)*","timestamp":"([^"\n]{32})"')


class Head(NamedTuple):
    """The first lines of a file."""

    size: int
    lines: int


class Beginning(NamedTuple):
    """How a file is to begin: without *gone*, and with *lines* instead."""

    gone: Head = Head(0, 0)
    lines: Iterable[bytes] = ()


def begun_anew(
    path: Path, history: History, known: FileState, tool: str, beginning: Beginning
) -> Generator[FileState | None]:
    """
    Let the file of *tool*, *known* by now, have another beginning.

    None after a step that was not the last; then the file's new state, which the journal must list
    before anything is appended. Nothing at all where the file is not the known one any more.
    OSError leaves it as it was.
    """
    aside = path / f".{known.name}.rest"
    aside.unlink(missing_ok=True)
    with os.fdopen(open_private(path / known.name, _READ), "rb") as source:
        if os.fstat(source.fileno()).st_ino != known.inode:
            return
        try:
            with os.fdopen(open_private(aside, _NEW), "wb") as file:
                before = Head(0, 0)
                for written in _written(file, beginning.lines):
                    before = written
                    yield None
                now = yield from _copied(source, file, history, tool, beginning.gone.size)
                file.flush()
                found = os.fstat(file.fileno())
            if now is None or now.inode != known.inode:
                return
            # point below: shorten-replace
            aside.replace(path / known.name)
        finally:
            aside.unlink(missing_ok=True)
    lines = before.lines + now.lines - beginning.gone.lines
    state = FileState(known.name, found.st_ino, found.st_size, lines)
    history.files[tool] = state  # point: shorten-replaced
    yield state


def _written(file: BinaryIO, lines: Iterable[bytes]) -> Iterator[Head]:
    """Write *lines*; what has been written, after every step."""
    size = count = step = 0
    for line in lines:
        size, count, step = size + file.write(line), count + 1, step + len(line)
        if step >= _STEP_BYTES:
            step = 0
            yield Head(size, count)
    if count:
        yield Head(size, count)


def _copied(
    source: BinaryIO, file: BinaryIO, history: History, tool: str, at: int
) -> Generator[None, None, FileState | None]:
    """Copy a file from *at* on; its state in the step of its last bytes, None if it differs."""
    inode = os.fstat(source.fileno()).st_ino
    while True:
        now = history.files.get(tool)
        if now is None or now.inode != inode:
            return None
        source.seek(at)
        wanted = min(_STEP_BYTES, now.size - at)
        chunk = source.read(wanted)
        if len(chunk) < wanted:
            return None  # somebody has cut it
        file.write(chunk)  # point: shorten-copy
        at += len(chunk)
        if at >= now.size:
            return now
        file.flush()
        yield None


def measured(
    path: Path, known: FileState, most_lines: int, cutoff: str | None
) -> Generator[Head | None]:
    """
    The first lines of a file: so many at most, and before *cutoff*, a ``timestamp``.

    None after a step that was not the last. Lines that tell no time go with those around them.
    """
    head, at, lines = Head(0, 0), 0, 0
    limit = None if cutoff is None else cutoff.encode()
    with os.fdopen(open_private(path / known.name, _READ), "rb") as source:
        if os.fstat(source.fileno()).st_ino != known.inode:
            return
        while at < known.size and lines < most_lines:
            step = at + _STEP_BYTES
            while at < min(step, known.size) and lines < most_lines:
                line = source.readline()
                began = _TIMESTAMP.match(line) if limit is not None else None
                if limit is not None and began is not None and began[1] >= limit:
                    yield head
                    return
                at, lines = at + len(line), lines + 1
                if limit is None or began is not None:
                    head = Head(at, lines)
            yield None
    yield head
