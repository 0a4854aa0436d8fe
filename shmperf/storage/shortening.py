"""
A history file whose first lines go: the rest is copied aside and takes the file's name.

In steps, between which lines may be appended: the last one takes these over, too. A kill before the
rename leaves the file as it was. A kill between that and the journal leaves a file that is not the
listed one, which is taken up as it is: nothing is appended before its new state is journalled.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

from shmperf.files import open_private

from .history import FileState, History

__all__ = ["shortened"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_READ = os.O_RDONLY | os.O_NONBLOCK
_STEP_BYTES = 1 << 20


def shortened(
    path: Path, history: History, tool: str, size: int, lines: int
) -> Generator[FileState | None]:
    """
    Leave the first *size* bytes, *lines* lines, out of the file of *tool*.

    None after a step that was not the last; then the file's new state, which the journal must list
    before anything is appended. Nothing at all where the file is not the listed one any more.
    OSError leaves it as it was.
    """
    known = history.files[tool]
    aside = path / f".{known.name}.rest"
    aside.unlink(missing_ok=True)
    with os.fdopen(open_private(path / known.name, _READ), "rb") as source:
        if os.fstat(source.fileno()).st_ino != known.inode:
            return
        try:
            with os.fdopen(open_private(aside, _NEW), "wb") as file:
                at = size
                while True:
                    now = history.files.get(tool)
                    if now is None or now.inode != known.inode:
                        return
                    source.seek(at)
                    chunk = source.read(min(_STEP_BYTES, now.size - at))
                    if len(chunk) < min(_STEP_BYTES, now.size - at):
                        return  # somebody has cut it
                    file.write(chunk)  # point: shorten-copy
                    file.flush()
                    at += len(chunk)
                    if at == now.size:
                        break
                    yield None
                inode = os.fstat(file.fileno()).st_ino
            # point below: shorten-replace
            aside.replace(path / known.name)
        finally:
            aside.unlink(missing_ok=True)
    state = history.files[tool] = FileState(known.name, inode, at - size, now.lines - lines)
    # point below: shorten-replaced
    yield state
