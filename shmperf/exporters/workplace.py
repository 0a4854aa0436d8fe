"""
A temporary directory that goes with its owner, or with the next one's begin.

    <temporary directory>/shmperf-sql-…     flocked by its owner, as long as it lives

What lies there may be as large as all history. A command that ends, by an error or a signal too,
takes it along; one that was killed can't. The kernel drops its lock, so whoever comes next takes
the lock and deletes the directory.

    killed before the lock is taken     an empty directory, which the next one deletes
    deleted before the lock is taken    the owner makes another one
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shmperf.files import open_private

__all__ = ["workplace"]

_PREFIX = "shmperf-sql-"
_OPEN = os.O_RDONLY | os.O_DIRECTORY


@contextmanager
def workplace() -> Iterator[Path]:
    """A private directory, deleted in the end; those of killed owners are deleted now. OSError."""
    _sweep(Path(tempfile.gettempdir()))
    path, fd = _made()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def _made() -> tuple[Path, int]:
    """A new directory, and its descriptor with the lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with suppress(FileNotFoundError):
            fd = open_private(path, _OPEN)
            if _is_locked_now(fd) and os.fstat(fd).st_nlink:
                return path, fd
            os.close(fd)


def _is_locked_now(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(place: Path) -> None:
    """Delete our user's directories in *place* that nobody holds."""
    for path in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            fd = open_private(path, _OPEN)
            try:
                if os.fstat(fd).st_uid == os.geteuid() and _is_locked_now(fd):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)
