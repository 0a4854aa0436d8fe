"""What a record says of its call: parameters, exception, and in detail much more."""

from __future__ import annotations

from typing import Any

import msgspec

from shmperf.files import KeptFile
from shmperf.shm.segment import Fault
from shmperf.stdlib import Path, os

from . import capture
from .failures import is_handlers
from .outcome import is_text
from .process import worker

__all__ = ["AGE_NS", "MOST_AGE_NS", "detailed_body", "plain_body", "read_memory"]

_encode = msgspec.msgpack.Encoder().encode


def plain_body(
    params: bytes, error: BaseException | str | None, caught: tuple[str, str, str] | None
) -> bytes:
    """The parameters, and of a failed call its exception."""
    if error is None:
        return params
    return capture.failed_body(params, _name_of(error), *(caught or ()))


def detailed_body(
    params: bytes,
    times_ns: tuple[int, int, int, int],
    error: BaseException | str | None = None,
    metadata: dict[str, Any] | None = None,
    caught: tuple[str, str, str] | None = None,
) -> bytes:
    """
    All that optimization mode keeps.

    *times_ns* are start and end, and CPU time of the thread at both, the first of it -1 for none.
    """
    start_ns, end_ns, cpu_ns, cpu_end_ns = times_ns
    cpu = None
    if cpu_ns >= 0:
        spent, elapsed = cpu_end_ns - cpu_ns, end_ns - start_ns
        cpu = 100.0 * spent / elapsed if spent < elapsed else 100.0
    name = text = None
    if error is not None:
        name = _name_of(error)
        text = capture.error_text(error)
    shown = msgspec.Raw(params) if params else None
    noted = _encoded_metadata(metadata) if metadata else None
    found = (shown, _memory.read(start_ns, end_ns), cpu, name, text, noted)
    return _encode(found if caught is None else (*found, *caught[1:]))


def _name_of(error: Any) -> str:
    name = error.partition(":")[0] if is_text(error) else capture.error_class(error)
    return name[:200]


def _encoded_metadata(metadata: dict[str, Any]) -> msgspec.Raw | None:
    try:
        return msgspec.Raw(capture.picture_all((), metadata).body)
    except Exception as error:
        # Metadata is foreign.
        if is_handlers(error):
            raise
        worker.faults.count(Fault.METADATA_FAILED)
        return None


class _Memory:
    """Resident memory of this process; a fork opens a file of its own."""

    def __init__(self) -> None:
        self._file: KeptFile | None = None
        self._pid = -1
        self._read_at_ns = -MOST_AGE_NS
        self._bytes: int | None = None

    def read(self, start_ns: int, end_ns: int) -> int | None:
        """
        Bytes at the end of a call, None where the system does not tell.

        They are 50 µs old at most; of a call that was as short itself, a millisecond.
        """
        age_ns = end_ns - self._read_at_ns
        is_short = end_ns - start_ns < AGE_NS
        if age_ns < (MOST_AGE_NS if is_short else AGE_NS) and self._pid == worker.pid:
            return self._bytes
        try:
            pages = os.pread(self._descriptor(), 64, 0).split(b" ", 2)[1]
            self._bytes = int(pages) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            self._bytes = None
        self._read_at_ns = end_ns
        return self._bytes

    def dated(self, start_ns: int, end_ns: int) -> tuple[int | None, int]:
        """The same, and when that was read."""
        return self.read(start_ns, end_ns), self._read_at_ns

    def _descriptor(self) -> int:
        if self._file is not None and self._pid == worker.pid:
            try:
                return self._file.descriptor()
            except OSError:
                pass  # closed by the program: its inode is not the same for ever
        fd = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
        self._file, self._pid = KeptFile(_STATM, fd), worker.pid
        return fd


_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# Parents end right after their children, and what takes microseconds takes no memory: reading anew
# for each costs system calls for nothing.
AGE_NS, MOST_AGE_NS = 50_000, 1_000_000
_memory = _Memory()
read_memory = _memory.dated
