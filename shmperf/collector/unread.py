"""
Who is there and can't be read: waiting while its worker lives, given up once nothing will be read.

A worker waits for memory that is not there yet, for a collector of its version, or for room in this
process. While one waits, no answer is complete and nothing counts as flushed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from shmperf.analysis.unattached import Unattached
from shmperf.errors import FormatError, SegmentGone
from shmperf.files import check_ours, open_private
from shmperf.session.presence import Presence
from shmperf.shm.memory import SHARED_MEMORY
from shmperf.shm.segment import begun_unmapped
from shmperf.storage.state import Ledger

__all__ = ["Unread"]


class Unread:
    """Those whom one look after the other could not attach to; the collector's thread."""

    def __init__(self, directory: Path, ledger: Ledger, fault: Callable[[str, str], None]) -> None:
        """*fault* counts and tells why, once for each."""
        self._directory = directory
        self._ledger = ledger
        self._fault = fault
        # By segment: why. At the last look, and at the one before.
        self._waiting: dict[str, str] = {}
        self._waited: dict[str, str] = {}

    def look_anew(self) -> None:
        """Another look begins: nobody waits until it is met again."""
        self._waited, self._waiting = self._waiting, {}

    def waits(self, presence: Presence, problem: Exception) -> bool:
        """False when the worker is dead and its memory will never be read: it is let go of."""
        if self._is_hopeless(presence, problem, is_new=presence.segment not in self._waited):
            return False
        self._waiting[presence.segment] = str(problem) or type(problem).__name__
        return True

    def told(self, failed: Mapping[str, str]) -> Unattached:
        """Who waited at the last look, and what had begun there; *failed* are further ones."""
        problems = {**failed, **self._waiting}
        calls = sum(map(self._calls, self._waiting))
        reason = next(reversed(problems.values()), "")
        return Unattached(workers=len(problems), calls=calls, reason=reason)

    def is_anybody(self) -> bool:
        """True when somebody waited at the last look."""
        return bool(self._waiting)

    def _is_hopeless(self, presence: Presence, problem: Exception, *, is_new: bool) -> bool:
        """True when the worker is dead and its memory will never be read; counted once."""
        if isinstance(problem, SegmentGone):
            if presence.is_alive():
                return False
            self._fault("segment_gone", str(problem))
            return True
        if isinstance(problem, FormatError):
            if is_new:
                self._fault("segment_refused", str(problem))
            return not presence.is_alive()
        # Of this process, not of that worker: its memory waits, dead or not.
        if is_new:
            self._fault("segment_waits", f"{presence.segment}: {problem}")
        return False

    def _calls(self, name: str) -> int:
        """Calls in a segment that can't be mapped, beyond those that are in the books already."""
        known = self._ledger.state.workers.get(name)
        for place in (SHARED_MEMORY, self._directory):
            try:
                fd = open_private(place / name, os.O_RDONLY)
            except OSError:
                continue
            try:
                check_ours(fd)
                return max(0, begun_unmapped(fd) - (known.begun if known is not None else 0))
            except OSError:
                continue
            finally:
                os.close(fd)
        return 0
