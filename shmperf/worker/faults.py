"""What of ours has gone wrong in a process: counted in its segment, the first of a kind told."""

from __future__ import annotations

from shmperf.errors import Once, tell
from shmperf.shm.segment import Fault, Segment

__all__ = ["Faults"]

_told = Once()


class Faults:
    """The faults of one process in one session; any thread. None is counted without a segment."""

    def __init__(self) -> None:
        self._segment: Segment | None = None

    def open(self, segment: Segment) -> None:
        """There is a *segment* to count in."""
        self._segment = segment

    def count(self, cause: int) -> None:
        """Count what went wrong; never raises."""
        if self._segment is not None:
            self._segment.count_fault(cause)

    def note(self, error: Exception) -> None:
        """Count what of ours has failed in a call, and tell the first of a kind; never raises."""
        self.count(Fault.INTERNAL)
        try:
            kind = type(error).__name__
            if _told.claim(kind):
                tell(f"tracking a call has failed, which is counted: {kind}: {error}")
        except Exception:  # noqa: BLE001  no memory for it either
            return
