"""What a process beside the collector says of itself, where its successor and readers find it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .messages import SinkReport

__all__ = ["REPORT", "last_report"]

# In the storage directory's own: what the last sink said of itself.
REPORT = "sink-report"


def last_report(storage: Path) -> SinkReport | None:
    """What the last sink of *storage* said of itself; None without one."""
    try:
        content = (storage / ".shmperf" / REPORT).read_bytes()
        return msgspec.msgpack.decode(content, type=SinkReport)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
