"""
Wall time from the monotonic clock that calls carry: one offset a boot, journalled.

Steps of the wall clock change nothing afterwards, so no order changes either; a suspended machine's
clock comes back later by more than a second, and only that is followed. Where the wall clock is set
back, calls go on being dated as before until the machine starts anew, which is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from shmperf.storage.state import Clock, Ledger

from .faults import Faults

__all__ = ["LATEST_NS", "WallClock", "boot_id"]

_FOLLOWED_NS = 1_000_000_000
_TOLD_NS = 60_000_000_000
_SET_BACK = "clock_set_back"
# Times come from other processes; what is later than this is not.
LATEST_NS = 1 << 62


class WallClock:
    """What to add to a monotonic time; the collector's thread."""

    def __init__(self, ledger: Ledger, boot_id: str) -> None:
        self.offset_ns = 0
        # A test's own, where it has them.
        self.boot_id = boot_id
        self.wall_ns: Callable[[], int] = time.time_ns
        self.monotonic_ns: Callable[[], int] = time.perf_counter_ns
        self._ledger = ledger
        self._change: Clock | None = None

    def look(self) -> None:
        """Compare both clocks; now and then, and once the past has been taken up."""
        offset_ns = self.wall_ns() - self.monotonic_ns()
        known = self._ledger.state.clock
        if known.boot_id != self.boot_id or offset_ns - known.offset_ns > _FOLLOWED_NS:
            self._change = known = Clock(self.boot_id, offset_ns)
        self.offset_ns = known.offset_ns

    def tell(self, faults: Faults) -> None:
        """Tell once that times are ahead of the wall clock, while they are."""
        ahead_ns = self.now_ns() - self.wall_ns()
        if ahead_ns < _TOLD_NS:
            faults.mended(_SET_BACK)
        elif _SET_BACK not in faults.told:
            text = (
                f"the wall clock was set back; calls are dated {ahead_ns / 1e9:,.0f} s ahead of it"
            )
            faults.count(_SET_BACK, f"{text} until this machine starts anew, in their order")

    def now_ns(self) -> int:
        """The wall time of now, as that of calls."""
        return self.of(self.monotonic_ns())

    def of(self, monotonic_ns: int) -> int:
        """The wall time of a call's time, which is bounded."""
        return min(monotonic_ns, LATEST_NS) + self.offset_ns

    def take_change(self) -> Clock | None:
        """What is to be journalled since it was last asked for; None for nothing."""
        change, self._change = self._change, None
        return change


def boot_id() -> str:
    """Which boot's clock the records are timed by; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
