"""
Memory that processes share by name: creating, attaching, removing; the user's alone.

This is the only module that knows `multiprocessing.shared_memory`. It keeps our names away from the
resource tracker, which would unlink undrained memory when the process that registered it ends, and
it never lets a failing attach unlink a name, which would take it from everybody. Where there is no
shared memory, a mapped file in a directory given as *fallback* stands in for it.

Who creates memory locks it, and the kernel drops that ``flock`` with the last mapping: whether the
memory is in use can be seen in any pid namespace, and also where its creator has closed all of its
descriptors. Forks that keep the mapping keep the lock; then memory only looks used for longer.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from multiprocessing import shared_memory
from typing import Any, cast

import msgspec

from shmperf.errors import FormatError, SegmentGone
from shmperf.files import KeptFile, list_beginning, open_private
from shmperf.stdlib import Path, fcntl, mmap, os

__all__ = [
    "PREFIX",
    "SHARED_MEMORY",
    "Memory",
    "attach_memory",
    "create_memory",
    "is_held",
    "read_blob",
    "remove_memory",
]

# Where the standard library has them from; type checkers don't know that module.
_posixshmem: Any = vars(shared_memory)["_posixshmem"]
PREFIX = "shmperf-"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where Linux keeps it; names there are verified
_PAGE = 4096
# What a process is short of now it may have again later: that says nothing about the memory.
_SHORTAGES = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EINTR})
_NO_SHARED_MEMORY = frozenset({errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EROFS})


class _SharedMemory(shared_memory.SharedMemory):
    """
    A block of shared memory that only an explicit call closes or unlinks.

    What the standard library does with its own, by functions that nobody has patched, and without
    the resource tracker.
    """

    def __init__(self, name: str, *, create: bool, size: int = 0) -> None:
        self._name: Any = f"/{name}"
        self._ours = create
        self._buf: Any = None
        self._mmap: Any = None
        flags = os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0)
        self._fd = _posixshmem.shm_open(self._name, flags, mode=0o600)
        try:
            if create:
                os.ftruncate(self._fd, size)
            self._size = os.fstat(self._fd).st_size
            self._mmap = mmap.mmap(self._fd, self._size)
        except BaseException:
            # The standard library leaves this to __del__, which does nothing here.
            self.close()
            self.unlink()
            raise
        self._buf = memoryview(self._mmap)

    # Nothing: the mapping ends with the process, whatever views of it are still alive. And nothing
    # in Python: no handler's exception can get in, which would be printed as one that is ignored.
    __del__: Any = bool

    def close(self) -> None:
        """Let go of the mapping."""
        if self._buf is not None:
            self._buf.release()
        if self._mmap is not None:
            self._mmap.close()
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def unlink(self) -> None:
        """Remove the name; not when an attach fails, which would take it from everybody."""
        if self._ours:
            _posixshmem.shm_unlink(self._name)


class Memory(msgspec.Struct, frozen=True):
    """Memory that is mapped: its bytes, its file, and how to let go of both."""

    buffer: memoryview
    file: KeptFile
    close: Callable[[], None]

    def reserve(self, start: int, size: int) -> None:
        """Give the range pages of its own, so that touching them can't fail; OSError without."""
        os.posix_fallocate(self.file.descriptor(), start, size)


def _mapped(shared: _SharedMemory, name: str) -> Memory:
    """What was mapped; its descriptor is looked after here from now on."""
    file = KeptFile(SHARED_MEMORY / name, vars(shared)["_fd"])
    vars(shared)["_fd"] = -1

    def close() -> None:
        shared.close()
        file.close()

    return Memory(cast("memoryview", shared.buf), file, close)


def create_memory(name: str, size: int, fallback: Path | None) -> Memory:
    """New zeroed memory of the user alone; a mapped file in *fallback* without shared memory."""
    try:
        shared = _SharedMemory(name, create=True, size=size)
        memory = _mapped(shared, name)  # point: memory-created
        _hold(memory)
        try:
            memory.reserve(0, _PAGE)
        except OSError:
            memory.buffer.release()
            shared.unlink()
            memory.close()
            raise
        return memory  # point: memory-reserved
    except FileExistsError:
        raise
    except OSError:
        if fallback is None:
            raise
        return _create_file(fallback / name, size)


def _hold(memory: Memory) -> None:
    """Lock it for as long as it is mapped; nobody else does, but to ask."""
    try:
        fcntl.flock(memory.file.descriptor(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # No locks there: then nobody can say that it is dead.
        return


def is_held(name: str) -> bool | None:
    """Whether its creator, or a fork of it, has *name* mapped; None where nobody can tell."""
    try:
        fd = open_private(SHARED_MEMORY / name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # Shared: two who only ask must not take each other for the holder.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)
    return False


def _create_file(path: Path, size: int) -> Memory:
    fd = open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        os.ftruncate(fd, size)
        os.posix_fallocate(fd, 0, _PAGE)
        mapped = mmap.mmap(fd, size)
    except OSError:
        path.unlink()
        os.close(fd)
        raise
    return _mapped_file(mapped, KeptFile(path, fd))


def _mapped_file(mapped: mmap.mmap, file: KeptFile) -> Memory:
    def close() -> None:
        mapped.close()
        file.close()

    return Memory(memoryview(mapped), file, close)


def attach_memory(name: str, fallback: Path | None) -> Memory:
    """
    Memory that another process created; raises SegmentGone or FormatError.

    OSError when this process is short of memory or descriptors: to be tried again.
    """
    try:
        shared = _SharedMemory(name, create=False)
    except FileNotFoundError:
        if fallback is None:
            raise SegmentGone(f"{name} does not exist") from None
        return _attach_file(fallback / name)
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise
        # Where shared memory was refused to the worker too, it went to the fallback.
        if fallback is None or error.errno not in _NO_SHARED_MEMORY:
            raise FormatError(f"{name}: {error}") from error
        return _attach_file(fallback / name)
    except ValueError as error:
        raise FormatError(f"{name}: {error}") from error
    return _verify(name, _mapped(shared, name))


def _attach_file(path: Path) -> Memory:
    try:
        fd = open_private(path, os.O_RDWR)
    except FileNotFoundError:
        raise SegmentGone(f"{path.name} does not exist") from None
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise
        raise FormatError(f"{path}: {error}") from error
    try:
        mapped = mmap.mmap(fd, 0)
    except (OSError, ValueError) as error:
        os.close(fd)
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            raise
        raise FormatError(f"{path}: {error}") from error
    return _verify(str(path), _mapped_file(mapped, KeptFile(path, fd)))


def _verify(name: str, memory: Memory) -> Memory:
    found = os.fstat(memory.file.descriptor())
    if found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077:
        return memory
    memory.buffer.release()
    memory.close()
    raise FormatError(f"{name}: found an owner or mode of somebody else's, expected ours and 0600")


def remove_memory(name: str, fallback: Path | None) -> None:
    """Unlink *name* and the blobs of its worker; no error when they are gone already."""
    places = [SHARED_MEMORY, *([fallback] if fallback else [])]
    for place in places:
        for path in (place / name, *list_beginning(place, f"{name}.")):
            try:
                if path.lstat().st_uid == os.geteuid():
                    path.unlink()  # point: memory-remove
            except OSError:
                continue


def read_blob(name: str, owner: str, most_bytes: int, fallback: Path | None = None) -> bytes:
    """
    The content of a blob that the segment *owner* put into memory of its own.

    Raises SegmentGone or FormatError; a name that is not one of *owner*'s is refused.
    """
    prefix, _, number = name.rpartition(".")
    if prefix != owner or not number or not set(number) <= set("0123456789abcdef"):
        raise FormatError(f"found a blob named {name!r}, expected one of {owner}")
    try:
        memory = attach_memory(name, fallback)
    except OSError as error:
        raise FormatError(f"{name}: {error}") from error
    try:
        if len(memory.buffer) > most_bytes:
            raise FormatError(f"{name}: found {len(memory.buffer)} bytes, expected {most_bytes}")
        return bytes(memory.buffer)
    finally:
        memory.buffer.release()
        memory.close()
