"""
Private files as every room opens them, where ours lie in a storage, how a failure reads.

A file is opened in one way: 0600 when it is made, closed by exec, and no symbolic link. What could
be somebody else's is checked on the descriptor, so nobody can exchange it between look and use.

A descriptor that stays open in a program is a `KeptFile`: a daemon closes all that it finds open,
and the same number is a file of its own next.

The snapshot of the journal says which version of the program a storage is of. Who founds a session
there reads that first: what a newer version has written is not touched, not even by a lock file.
"""

from __future__ import annotations

import errno
import stat
from struct import Struct
from typing import TypeVar

from shmperf.errors import FormatError
from shmperf.stdlib import Path, os

__all__ = [
    "INTERNALS",
    "JOURNAL_HEADER",
    "JOURNAL_MAGIC",
    "JOURNAL_VERSION",
    "KeptFile",
    "check_ours",
    "internals",
    "list_beginning",
    "make_storage",
    "open_private",
    "path_of",
    "path_text",
    "read_private",
    "reason_of",
    "refuse_newer",
    "shown_path",
    "sync_directory",
    "translated",
    "words_of",
]

# In the storage directory: what is not history; nobody but us reads or writes there.
INTERNALS = ".shmperf"
_IGNORED = b"# Created by shmperf.\n*\n"

# Magic, version, generation: how the snapshot and the logs of a journal begin.
JOURNAL_HEADER = Struct("<8sII")
JOURNAL_MAGIC = b"shmpjrnl"
# Raised with every change of what a frame or a snapshot holds, a new field too: a program that does
# not know it would pass it over, and write a snapshot without it.
JOURNAL_VERSION = 3

_E = TypeVar("_E", bound=Exception)


def internals(storage: Path) -> Path:
    """Where our own files lie in *storage*; nothing is created or looked at."""
    return storage / INTERNALS


def refuse_newer(storage: Path) -> None:
    """
    Raise FormatError where a newer version of the program has written what *storage* holds.

    What can't be read, or is no journal, is for whoever takes it up to tell.
    """
    try:
        head = read_private(internals(storage) / "snapshot", JOURNAL_HEADER.size)
    except OSError:
        return
    if len(head) < JOURNAL_HEADER.size:
        return
    magic, version, _ = JOURNAL_HEADER.unpack(head)
    if magic == JOURNAL_MAGIC and version > JOURNAL_VERSION:
        raise FormatError(
            f"{shown_path(storage)}: found a journal of version {version}, "
            f"expected {JOURNAL_VERSION}; use the shmperf that wrote it"
        )


def make_storage(storage: Path) -> None:
    """
    Make the directory *storage* if it is not there; OSError.

    What we have made is nothing for a repository, and says so itself; a directory that a user has
    made is left as it is.
    """
    if storage.exists():
        return
    storage.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        fd = open_private(storage / ".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except OSError:
        return  # another process that makes it has done so; or nothing can be written there
    try:
        os.write(fd, _IGNORED)
    finally:
        os.close(fd)


def list_beginning(directory: Path, *prefixes: str) -> list[Path]:
    """What is in *directory* under names that begin so; nothing where it can't be read."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [directory / name for name in names if name.startswith(prefixes)]


def open_private(path: Path, flags: int) -> int:
    """
    A descriptor of *path*, opened with *flags* as `os.open` takes them; OSError.

    A symbolic link is refused, a new file is 0600, and a program that is executed does not get it.
    A file that was there and is to be written becomes 0600, too; one that has another name beside
    this one (a hard link) is refused: what is written would be somewhere else as well.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    if flags & os.O_EXCL or not flags & (os.O_WRONLY | os.O_RDWR):
        return os.open(path, flags, 0o600)
    # Nothing is cut before it is known what it is.
    fd = os.open(path, flags & ~os.O_TRUNC, 0o600)
    try:
        _take_over(fd, path)
        if flags & os.O_TRUNC and os.fstat(fd).st_size:
            os.ftruncate(fd, 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def sync_directory(path: Path) -> None:
    """Let what was created, renamed and deleted in *path* be on the disk; OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some file systems (FUSE, SMB) know no such thing, and say so: nobody can do more there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def _take_over(fd: int, path: Path) -> None:
    """Make a plain file of ours private; others are for whoever opened them to refuse."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        return
    if found.st_nlink > 1:
        reason = f"{path.name} has another name as well (a hard link): delete this one"
        raise OSError(errno.EMLINK, reason, str(path))
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():
        os.fchmod(fd, 0o600)


def check_ours(fd: int) -> os.stat_result:
    """What is known of an open file; PermissionError unless it is a plain one of this user."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError("found a file that is not ours")
    return found


def read_private(path: Path, most_bytes: int = -1) -> bytes:
    """The first bytes of a plain file of ours, or all; OSError where it is none."""
    # O_NONBLOCK: opening a pipe in the file's place must not wait for a writer.
    with os.fdopen(open_private(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        check_ours(file.fileno())
        return file.read(most_bytes)


class KeptFile:
    """An open file whose descriptor may be another file's by now: looked at before each use."""

    __slots__ = ("_fd", "_identity", "path")

    def __init__(self, path: Path, fd: int) -> None:
        """The file in *path*, which is open for reading and writing as *fd*."""
        self.path = path
        self._fd = fd
        self._identity = _identity_of(fd)

    @property
    def is_open(self) -> bool:
        """True while the descriptor is this file's."""
        try:
            return _identity_of(self._fd) == self._identity
        except OSError:
            return False

    def descriptor(self) -> int:
        """
        The file's descriptor, for use at once.

        Opened again by its name when the program has closed it; OSError where that is another file.
        """
        if not self.is_open:
            fd = open_private(self.path, os.O_RDWR)
            if _identity_of(fd) != self._identity:
                os.close(fd)
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.path))
            self._fd = fd
        return self._fd

    def close(self) -> None:
        """Close it, unless the program has."""
        if self.is_open:
            os.close(self._fd)


def _identity_of(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def path_text(path: Path) -> str:
    """A path as a text that UTF-8 can hold, whatever bytes it has; `path_of` reads it."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        # No path has a null character.
        return "\0" + os.fsencode(text).decode("latin-1")
    return text


def path_of(text: str) -> Path:
    """The path that `path_text` wrote."""
    if not text.startswith("\0"):
        return Path(text)
    return Path(os.fsdecode(text[1:].encode("latin-1", "replace")))


def shown_path(path: Path) -> str:
    """A path as people read it: what is no UTF-8 is escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def reason_of(error: Exception) -> str:
    """What went wrong, in the system's words; in the error's own where it has none."""
    return getattr(error, "strerror", None) or str(error)


def words_of(number: int) -> str:
    """The system's words for the number of an error, where a library has put its own over them."""
    return os.strerror(number)


def translated(error: Exception, where: object, kind: type[_E]) -> _E:
    """An error of *kind* that says where it happened and what the system said, in one line."""
    return kind(f"{where}: {reason_of(error)}")
