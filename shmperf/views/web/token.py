"""
The token of a page: who shows it may read what a storage holds, and switch its session.

It lies in the storage, readable by its owner alone, and is the same the next time. A file that is
not ours, that others can read, or that holds no token is no secret: it is made anew.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from shmperf.errors import StoreError
from shmperf.exporters.output import write_private
from shmperf.files import check_ours, internals, make_storage, open_private, translated

__all__ = ["FILE", "is_token", "new_token", "token_of"]

FILE = "serve-token"
_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_OTHERS = 0o077


def token_of(storage: Path) -> str:
    """The token of *storage*, made if there is none; StoreError where it can't be kept."""
    path = internals(storage) / FILE
    known = _read(path)
    if known is not None:
        return known
    made = new_token()
    try:
        make_storage(storage)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _drop_other(path)
    except OSError as error:
        raise translated(error, path, StoreError) from None
    write_private(path, [made.encode()])
    # Another one may have come in between.
    return _read(path) or made


def new_token() -> str:
    """One that nobody knows."""
    return secrets.token_urlsafe(_BYTES)


def is_token(text: str) -> bool:
    """True for what a token looks like."""
    return _TOKEN.fullmatch(text) is not None


def _read(path: Path) -> str | None:
    try:
        with os.fdopen(open_private(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if check_ours(file.fileno()).st_mode & _OTHERS:
                return None
            text = file.read(100).decode("ascii", "replace")
    except OSError:
        return None
    return text if is_token(text) else None


def _drop_other(path: Path) -> None:
    """A link, a pipe or a directory in its place goes; a file is replaced by the new one."""
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        path.unlink(missing_ok=True)
