"""Workers that a collector finds and can't read: a part of statistics and of status alike."""

from __future__ import annotations

import msgspec

__all__ = ["Unattached"]


class Unattached(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are, the calls that began there and are in no book yet, and why."""

    workers: int = 0
    calls: int = 0
    reason: str = ""
