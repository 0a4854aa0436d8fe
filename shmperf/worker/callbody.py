"""What a record says of its call: parameters, exception, and in detail much more."""

from __future__ import annotations

from typing import Any

import msgspec

from shmperf.files import KeptFile
from shmperf.shm.segment import Fault
from shmperf.stdlib import Path, os

from . import capture
from .callstate import CallState
from .failures import is_handlers
from .outcome import is_text
from .process import worker

__all__ = ["detailed_body", "plain_body"]

_encode = msgspec.msgpack.Encoder().encode


def plain_body(call: CallState, error: BaseException | str | None) -> bytes:
    """The parameters, and of a failed call its exception."""
    if error is None:
        return call.body
    return capture.failed_body(call.body, _name_of(error), *(call.caught or ()))


def detailed_body(call: CallState, error: BaseException | str | None) -> bytes:
    """All that optimization mode keeps."""
    cpu = None
    if call.cpu_ns >= 0:
        spent, elapsed = call.cpu_end_ns - call.cpu_ns, call.end_ns - call.start_ns
        cpu = 100.0 * spent / elapsed if spent < elapsed else 100.0
    name = text = None
    if error is not None:
        name = _name_of(error)
        text = capture.error_text(error)
    params = msgspec.Raw(call.body) if call.body else None
    metadata = _encoded_metadata(call.metadata) if call.metadata else None
    found = (params, _memory.read(call.end_ns), cpu, name, text, metadata)
    return _encode(found if call.caught is None else (*found, *call.caught[1:]))


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
        self._good_until_ns = 0
        self._bytes: int | None = None

    def read(self, now_ns: int) -> int | None:
        """Bytes, at most 50 µs old at *now_ns*; None where the system does not tell."""
        if now_ns < self._good_until_ns and self._pid == worker.pid:
            return self._bytes
        try:
            pages = os.pread(self._descriptor(), 64, 0).split(b" ", 2)[1]
            self._bytes = int(pages) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            self._bytes = None
        self._good_until_ns = now_ns + _MEMORY_AGE_NS
        return self._bytes

    def _descriptor(self) -> int:
        if self._file is None or self._pid != worker.pid or not self._file.is_open:
            # Named anew each time: its inode is not the same for ever.
            self._file = KeptFile(_STATM, os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC))
            self._pid = worker.pid
        return self._file.descriptor()


_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# Parents end right after their children: reading anew for each costs a system call for nothing.
_MEMORY_AGE_NS = 50_000
_memory = _Memory()
