"""
Which interval a moment belongs to, and which intervals are over.

Number n begins n · 30 s after 1970. No interval begins before one that is closed, whatever the wall
clock does: when it goes back (a machine that was restarted), time is shifted so that it goes on
behind the newest, and when it comes forward again, the shift is given back.
"""

from __future__ import annotations

__all__ = ["LENGTH_NS", "MOST_OPEN", "Timeline"]

_SECOND_NS = 10**9
LENGTH_NS = 30 * _SECOND_NS
# So many may be open at once: older calls, of a collector that was away, count in the first.
MOST_OPEN = 120
# A pass over all workers is over by then, and what had ended has settled.
_GRACE_NS = 2 * _SECOND_NS
# A clock that has come forward by so much was set, or the machine slept.
_SET_NS = 60 * _SECOND_NS


class Timeline:
    """Pure: its time is what it is told."""

    def __init__(self) -> None:
        # Up to this number all intervals are closed; the number of the present one.
        self.closed = self.latest = 0
        self.shift_ns = 0
        self._now_ns = 0

    def look(self, now_ns: int) -> None:
        """The wall clock shows *now_ns*."""
        passed_ns = now_ns - self._now_ns
        if self.shift_ns and passed_ns > _SET_NS:
            self.shift_ns = max(0, self.shift_ns - passed_ns)
        self.shift_ns = max(self.shift_ns, (self.closed + 1) * LENGTH_NS - now_ns)
        self._now_ns = now_ns
        self.latest = (now_ns + self.shift_ns) // LENGTH_NS

    def close(self, until_ns: int) -> None:
        """All that ended before that wall time is known: close what was over by then."""
        number = (until_ns + self.shift_ns - _GRACE_NS) // LENGTH_NS - 1
        self.closed = max(self.closed, min(number, self.latest - 1))

    def numbered(self, wall_ns: int) -> int:
        """The number of the interval in which what ended at *wall_ns* counts now."""
        first = max(self.closed + 1, self.latest - MOST_OPEN + 1)
        # Times come from other processes: one that is later than now is so by a moment.
        return min(max((wall_ns + self.shift_ns) // LENGTH_NS, first), self.latest + 1)

    def start_ns(self, number: int) -> int:
        """The wall time at which the interval of that *number* begins, as the clock is now."""
        return number * LENGTH_NS - self.shift_ns
