"""Where an export goes: a private file that appears when it is whole, or standard output."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from shmperf.errors import StoreError
from shmperf.files import open_private, translated

__all__ = ["write_private", "write_stream"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def write_private(path: Path, chunks: Iterable[bytes]) -> None:
    """
    A file of *chunks* that only its owner can read, in place of one that may be there.

    It is written beside and renamed: whoever looks sees the old file or the whole new one. Raises
    StoreError where that can't be, and leaves nothing behind. A device, pipe, link or directory is
    never replaced.
    """
    aside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")
    try:
        _refuse_special(path)
        with os.fdopen(open_private(aside, _NEW), "wb") as file:
            for chunk in chunks:
                file.write(chunk)
        aside.replace(path)
    except OSError as error:
        raise translated(error, path, StoreError) from None
    finally:
        try:
            aside.unlink(missing_ok=True)
        except OSError:  # the directory that could not be written
            pass


def _refuse_special(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
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
