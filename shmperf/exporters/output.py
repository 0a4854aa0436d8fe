"""
Where an export goes: a private file that appears when it is whole, or standard output.

    written                  a file without a name, in the directory of the one that it will be
    whole                    it gets a name beside, and takes the place of the old file with it

    killed while it is written     nothing is there: the system takes back what has no name
    killed between the two         the old file, and a whole one beside that nobody looks at

Where a file system knows no files without a name, it is written under the one beside from the
beginning, and a kill leaves that.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from shmperf.errors import StoreError
from shmperf.files import open_private, translated

__all__ = ["write_private", "write_stream"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
# How a file without a name is found to be given one.
_OPEN_FILES = Path("/proc/self/fd")


def write_private(path: Path, chunks: Iterable[bytes]) -> None:
    """
    A file of *chunks* that only its owner can read, in place of one that may be there.

    Whoever looks sees the old file or the whole new one. Raises StoreError where that can't be, and
    leaves nothing behind. A device, pipe, link or directory is never replaced.
    """
    _refuse_special(path)
    aside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")
    try:
        fd = _nameless(path.parent)
        has_name = fd is None
        with os.fdopen(open_private(aside, _NEW) if fd is None else fd, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            if not has_name:
                _name(file.fileno(), aside)
        aside.replace(path)
    except OSError as error:
        raise translated(error, path, StoreError) from None
    finally:
        with suppress(OSError):  # the directory that could not be written
            aside.unlink(missing_ok=True)


def _nameless(directory: Path) -> int | None:
    """A new file in *directory* that has no name yet; None where there are no such files."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not _OPEN_FILES.is_dir():
        return None
    try:
        return os.open(directory, os.O_WRONLY | os.O_CLOEXEC | flag, 0o600)
    except OSError:
        return None  # with a name it is tried again, and fails for what is to be told


def _name(fd: int, path: Path) -> None:
    # Given a directory, which an absolute path does not need, Python calls linkat: link follows no
    # link, and would name the one in /proc.
    os.link(_OPEN_FILES / str(fd), path, src_dir_fd=fd, follow_symlinks=True)


def _refuse_special(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise translated(error, path, StoreError) from None
    if not stat.S_ISREG(mode):
        raise StoreError(f"{path}: no plain file; without -o the export goes to standard output")


def write_stream(stream: BinaryIO, chunks: Iterable[bytes]) -> None:
    """Write *chunks* as they come; StoreError when that fails, BrokenPipeError without a reader."""
    try:
        stream.writelines(chunks)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise translated(error, "standard output", StoreError) from None
