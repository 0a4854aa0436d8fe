"""
Where a user's sessions lie, and what stands in a storage directory: the names, verified.

Every directory is 0700 and ours; one that is not is refused.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping

import msgspec

from shmperf.errors import SessionError
from shmperf.files import internals, make_storage, path_of, path_text, translated
from shmperf.stdlib import Path, os

from .files import read_bounded, write_aside

__all__ = [
    "TOOL_STORE",
    "UNWRITTEN",
    "digest",
    "internals_of",
    "named_directory",
    "read_name",
    "runtime_root",
    "write_name",
]
# In the storage directory: tools, their embeddings and their performance.
TOOL_STORE = "tools.db"
# Of what lies beside the sessions: see `unwritten`.
UNWRITTEN = "u-"

_LONGEST_NAME = 21
# A socket's path has room for 103 bytes on macOS and 107 on Linux.
_LONGEST_ROOT = 103 - len("/n-+") - 20 - len("/control.sock")


def runtime_root(environ: Mapping[str, str]) -> Path:
    """
    The directory of this user's sessions, 0700 and verified.

    ``$XDG_RUNTIME_DIR/shmperf`` where that is usable and short enough for a socket's path, else one
    under the temporary directory, which is /tmp where that of TMPDIR can't be used. Raises
    SessionError when it belongs to somebody else.
    """
    given = environ.get("XDG_RUNTIME_DIR", "")
    root = Path(given) / "shmperf"
    if given.startswith("/") and _is_short(root) and _is_ours(Path(given)):
        return _private(root)
    temporary = Path(environ.get("TMPDIR", ""))
    root = temporary / f"shmperf-{os.geteuid()}"
    if not temporary.is_absolute() or not _is_short(root) or not _is_writable(temporary):
        root = Path("/tmp") / root.name  # noqa: S108  created privately and verified
    return _private(root)


def _is_writable(directory: Path) -> bool:
    return directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)


def _is_short(root: Path) -> bool:
    return len(os.fsencode(root)) <= _LONGEST_ROOT


def named_directory(root: Path, name: str) -> Path:
    """The directory of the named session; any text is a name."""
    if not name:
        raise SessionError("found an empty session name, expected one")
    if _is_safe(name):
        return root / f"n-{name}"
    return root / f"n-+{digest(name)}"


def _is_safe(name: str) -> bool:
    """True for what a file system and its users read as it is."""
    plain = all(char.isalnum() or char in "_.-" for char in name)
    return plain and name.isascii() and name[0].isalnum() and len(name) <= _LONGEST_NAME


def _private(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise translated(error, path, SessionError) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise SessionError(f"{path}: belongs to another user or is no directory; remove it")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise SessionError(f"{path}: others may enter it; run: chmod 700 {path}")
    return path


def _is_ours(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and os.access(path, os.W_OK)
    )


def digest(text: str) -> str:
    """A short name for any text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def internals_of(storage: Path) -> Path:
    """``<storage>/.shmperf``, created privately; OSError when that can't be."""
    place = internals(storage)
    make_storage(storage)
    place.mkdir(mode=0o700, exist_ok=True)
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{place} is not a directory of ours")
    return place


def read_name(place: Path) -> tuple[Path, bytes]:
    """The session directory and token that a storage names."""
    content = read_bounded(place / "session")
    try:
        directory, token = msgspec.msgpack.decode(content, type=tuple[str, bytes])
    except (msgspec.MsgspecError, ValueError) as error:
        raise SessionError(f"{place}/session is damaged: {error}") from None
    found = path_of(directory)
    if not found.is_absolute():
        raise SessionError(f"{place}/session is damaged: found a directory {directory!r}")
    return found, token


def write_name(place: Path, directory: Path, token: bytes) -> None:
    """Name a session's directory and token on a storage."""
    write_aside(place / "session", msgspec.msgpack.encode((path_text(directory), token)))
