"""
Private files of a session: writing, locking and removing what is the user's alone.

Every file is 0600, ours, and no symbolic link; what is not is refused. A file that others read is
written aside and renamed, so it is complete or absent.
"""

from __future__ import annotations

import re
import stat

from shmperf.errors import SessionError
from shmperf.files import list_beginning, open_private, path_of, read_private
from shmperf.stdlib import Path, fcntl, mmap, os, secrets, time

__all__ = [
    "LEAVING_S",
    "LEFT_OVER_S",
    "check_private",
    "create_locked",
    "draw_numbers",
    "file_identity",
    "is_locked",
    "let_go",
    "lock_within",
    "map_word",
    "read_bounded",
    "remove_asides",
    "remove_directory",
    "remove_left_over",
    "remove_old",
    "try_flock",
    "try_lock",
    "write_aside",
    "write_new",
]

# How long a collector that is on its way out may still hold a storage.
LEAVING_S = 1.0
# What is older than this and half done nobody is still at.
LEFT_OVER_S = 60.0
_ASIDE = r"\..+\.[0-9a-f]{12}"
_BLOCKS_DEADLINE_S = 0.25


def check_private(directory: Path) -> None:
    """Raise SessionError unless *directory* is ours alone; FileNotFoundError without one."""
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise SessionError(f"{directory}: belongs to another user or is no directory")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise SessionError(f"{directory}: others may enter it; run: chmod 700 {directory}")


def map_word(path: Path) -> mmap.mmap:
    """The session word's file, mapped."""
    fd = open_private(path, os.O_RDWR)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_size != 8:
            raise SessionError(f"{path}: found a damaged session word")
        return mmap.mmap(fd, 8)
    finally:
        os.close(fd)


def try_lock(path: Path) -> int | None:
    """The descriptor that holds the lock of *path*, or None when somebody else does."""
    fd = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # point: lock-take
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def lock_within(path: Path, timeout_s: float) -> int | None:
    """The same, waiting for it at most *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while (fd := try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(0.002)
    return fd


def draw_numbers(path: Path, count: int, end: int) -> int:
    """The first of *count* numbers below *end* that nobody has drawn; OSError or ValueError."""
    fd = lock_within(path, _BLOCKS_DEADLINE_S)
    if fd is None:
        # Its holder has been stopped, perhaps; a tool call waits for nobody.
        raise BlockingIOError(f"{path} is locked")
    try:
        first = int(os.pread(fd, 20, 0) or b"1")
        if not 0 < first < end - count:
            raise ValueError("the numbers are used up")
        os.pwrite(fd, str(first + count).encode(), 0)  # point: blocks-write
        return first  # point: blocks-written
    finally:
        let_go(fd)


def write_new(path: Path, content: bytes) -> None:
    """A new private file."""
    fd = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(fd, "wb") as file:
        file.write(content)  # point: new-write


def write_aside(path: Path, content: bytes) -> None:
    """Replace a private file as a whole."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        write_new(aside, content)  # point: aside-write
        aside.replace(path)  # point: aside-replace
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def remove_asides(directory: Path) -> int:
    """Remove what `write_aside` left where its process was killed, once it is a minute old."""
    asides = [path for path in list_beginning(directory, ".") if re.fullmatch(_ASIDE, path.name)]
    return sum(remove_old(path, LEFT_OVER_S) for path in asides)


def remove_old(path: Path, age_s: float) -> bool:
    """Delete a file; False when it is young, or another process is faster."""
    try:
        if time.time() - path.lstat().st_mtime < age_s:
            return False
        path.unlink()
    except OSError:
        return False
    return True


def remove_directory(path: Path) -> None:
    """Delete a directory of plain files."""
    for child in path.iterdir():
        child.unlink(missing_ok=True)  # point: remove-child
    path.rmdir()  # point: remove-rmdir


def remove_left_over(path: Path, age_s: float) -> bool:
    """Remove a directory that nobody uses; False when it is young, or another process is faster."""
    try:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or time.time() - status.st_mtime < age_s:
            return False
        remove_directory(path)
    except OSError:
        return False
    return True


def file_identity(path: str) -> tuple[int, ...]:
    """What changes when a file does; empty without one."""
    if not path:
        return ()
    try:
        status = path_of(path).stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


_MOST_BYTES = 1 << 20
_LOCK_DEADLINE_S = 1.0


def create_locked(path: Path, content: bytes) -> int:
    """A new private file with *content*, locked; the descriptor that holds the lock."""
    fd = open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        _lock_soon(fd)  # point: presence-created
        os.write(fd, content)  # point: presence-locked
    except OSError:
        path.unlink(missing_ok=True)
        let_go(fd)
        raise
    return fd  # point: presence-written


def let_go(fd: int) -> None:
    """
    Drop the lock that *fd* holds, and close it.

    A fork in another thread may have copied the descriptor, and as long as a copy is open, closing
    ours leaves the lock held; unlocking drops it for all of them.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _lock_soon(fd: int) -> None:
    """Lock a file that nobody else wants, but that somebody may be trying the lock of just now."""
    deadline = time.monotonic() + _LOCK_DEADLINE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise


def is_locked(path: Path) -> bool:
    """True when somebody holds the lock of *path*; False when there is no such file."""
    return try_flock(path) is False


def try_flock(path: Path) -> bool | None:
    """Whether the lock could be taken, and was dropped again; None without a file."""
    try:
        fd = open_private(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        # Shared: two who only ask must not take each other for the holder.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    finally:
        let_go(fd)
    return True


def read_bounded(path: Path) -> bytes:
    """A small private file of ours; FileNotFoundError, or SessionError when it is not that."""
    try:
        return read_private(path, _MOST_BYTES)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise SessionError(f"{path}: {error}") from None
