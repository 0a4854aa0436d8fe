"""
Private places and small files: where a user's sessions lie, and how anything is written there.

Every directory is 0700 and every file 0600, ours, and no symbolic link; what is not is refused. A
file that others read is written aside and renamed, so it is complete or absent.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import re
import secrets
import stat
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .errors import SessionError
from .presence import let_go, read_bounded

__all__ = [
    "LEAVING_S",
    "LEFT_OVER_S",
    "MOST_BLOCKS",
    "TOOL_STORE",
    "check_private",
    "digest",
    "draw_numbers",
    "file_identity",
    "internals_of",
    "lock_within",
    "map_word",
    "named_directory",
    "read_name",
    "remove_asides",
    "remove_directory",
    "remove_left_over",
    "remove_old",
    "runtime_root",
    "try_lock",
    "write_aside",
    "write_name",
    "write_new",
]

# How long a collector that is on its way out may still hold a storage.
LEAVING_S = 1.0
# What is older than this and half done nobody is still at.
LEFT_OVER_S = 60.0
# Numbers of id blocks that are drawn lie below, random ones above.
MOST_BLOCKS = 1 << 31
# In the storage directory: tools, their embeddings and their performance.
TOOL_STORE = "tools.db"

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}\Z")
# A socket's path has room for 103 bytes on macOS and 107 on Linux.
_LONGEST_ROOT = 103 - len("/n-+") - 20 - len("/control.sock")
_ASIDE = re.compile(r"\..+\.[0-9a-f]{12}")
_BLOCKS_DEADLINE_S = 0.25


def runtime_root(environ: Mapping[str, str]) -> Path:
    """
    The directory of this user's sessions, 0700 and verified.

    ``$XDG_RUNTIME_DIR/shmperf`` where that is usable and short enough for a socket's path, else one
    under the temporary directory. Raises SessionError when it belongs to somebody else.
    """
    given = environ.get("XDG_RUNTIME_DIR", "")
    root = Path(given) / "shmperf"
    if given.startswith("/") and _is_short(root) and _is_ours(Path(given)):
        return _private(root)
    temporary = environ.get("TMPDIR", "")
    root = Path(temporary) / f"shmperf-{os.geteuid()}"
    if not temporary.startswith("/") or not _is_short(root):
        root = Path("/tmp") / root.name  # noqa: S108  created privately and verified
    return _private(root)


def _is_short(root: Path) -> bool:
    return len(os.fsencode(root)) <= _LONGEST_ROOT


def named_directory(root: Path, name: str) -> Path:
    """The directory of the named session; any text is a name."""
    if not name:
        raise SessionError("found an empty session name, expected one")
    if _SAFE_NAME.match(name):
        return root / f"n-{name}"
    return root / f"n-+{digest(name)}"


def _private(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise SessionError(f"{path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise SessionError(f"{path}: belongs to another user or is no directory; remove it")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SessionError(f"{path}: others may enter it; run: chmod 700 {path}")
    return path


def _is_ours(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and os.access(path, os.W_OK)


def digest(text: str) -> str:
    """A short name for any text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def internals_of(storage: Path) -> Path:
    """``<storage>/.shmperf``, created privately; OSError when that can't be."""
    place = storage / ".shmperf"
    storage.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{place} is not a directory of ours")
    return place


def read_name(place: Path) -> tuple[Path, bytes]:
    """The session directory and token that a storage names."""
    content = read_bounded(place / "session")
    try:
        directory, token = msgspec.msgpack.decode(content, type=tuple[str, bytes])
    except (msgspec.MsgspecError, ValueError) as error:
        raise SessionError(f"{place}/session is damaged: {error}") from None
    if not directory.startswith("/"):
        raise SessionError(f"{place}/session is damaged: found a directory {directory!r}")
    return Path(directory), token


def write_name(place: Path, directory: Path, token: bytes) -> None:
    """Name a session's directory and token on a storage."""
    write_aside(place / "session", msgspec.msgpack.encode((str(directory), token)))


def check_private(directory: Path) -> None:
    """Raise SessionError unless *directory* is ours alone; FileNotFoundError without one."""
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise SessionError(f"{directory}: belongs to another user or is no directory")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SessionError(f"{directory}: others may enter it; run: chmod 700 {directory}")


def map_word(path: Path) -> mmap.mmap:
    """The session word's file, mapped."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or found.st_size != 8:
            raise SessionError(f"{path}: found a damaged session word")
        return mmap.mmap(fd, 8)
    finally:
        os.close(fd)


def try_lock(path: Path) -> int | None:
    """The descriptor that holds the lock of *path*, or None when somebody else does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
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


def draw_numbers(path: Path, count: int) -> int:
    """The first of *count* numbers that nobody has drawn before; OSError or ValueError."""
    fd = lock_within(path, _BLOCKS_DEADLINE_S)
    if fd is None:
        # Its holder has been stopped, perhaps; a tool call waits for nobody.
        raise BlockingIOError(f"{path} is locked")
    try:
        first = int(os.pread(fd, 20, 0) or b"1")
        if not 0 < first < MOST_BLOCKS - count:
            raise ValueError("the numbers are used up")
        os.pwrite(fd, str(first + count).encode(), 0)  # point: blocks-write
        return first  # point: blocks-written
    finally:
        let_go(fd)


def write_new(path: Path, content: bytes) -> None:
    """A new private file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
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
    found = [path for path in directory.glob(".*") if _ASIDE.fullmatch(path.name)]
    return sum(remove_old(path, LEFT_OVER_S) for path in found)


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
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or time.time() - found.st_mtime < age_s:
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
        found = Path(path).stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
