"""
How many calls there were: those that have a record, and those of sampled tools that have none.

Of a sampled tool the calls without a record are counted from their worker's own counters, and what
they took is estimated from ordinary calls that were chosen. What was recorded although it was not
chosen, failed, or was slow is no ordinary call: all of these have records, and stand for
themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from shmperf.shm.record import SAMPLE_BITS, STATUS_BITS, UNTIMED_BIT
from shmperf.shm.ring import Batch
from shmperf.storage.state import Ledger

from .accounts import Accounts
from .choosing import Choosing
from .drain import WorkerDrain
from .wallclock import WallClock

__all__ = ["Counted", "Counting"]

# Durations, meta words, and the union of these and those of all that came with them.
Counted = tuple[list[int], Sequence[int], int]

_UNORDINARY = SAMPLE_BITS | STATUS_BITS


class Counting:
    """Counts calls by tool; the collector's thread."""

    def __init__(
        self, ledger: Ledger, accounts: Accounts, wall: WallClock, choosing: Choosing
    ) -> None:
        """*choosing* says how tools are sampled."""
        self.accounts = accounts
        self._ledger = ledger
        self._wall = wall
        self._choosing = choosing

    def count(self, tool: str, batch: Batch, seen: int, errors: int, last_end_ns: int) -> None:
        """
        Count all calls of *batch*, of *tool*; *seen* and the others as in `count_some`.
        """
        if self._is_plain(tool, seen):
            counted = self._ledger.totals.of(tool)
            counted.add_batch(batch, errors, self._wall.of(last_end_ns))
        else:
            self.count_some(tool, (batch.durations(), batch.metas, seen), errors, last_end_ns)

    def count_some(self, tool: str, calls: Counted, errors: int, last_end_ns: int) -> None:
        """
        Count *calls* of *tool*, of which *errors* failed, in the present part.

        The last ended at *last_end_ns*, monotonic.
        """
        durations_ns, metas, seen = calls
        totals, last_ns = self._ledger.totals, self._wall.of(last_end_ns)
        counted = totals.of(tool)
        if self._is_plain(tool, seen):
            counted.add(durations_ns, errors, last_ns)
            return
        pairs = list(zip(metas, durations_ns, strict=True))
        timed = [duration for meta, duration in pairs if not meta & UNTIMED_BIT]
        counted.add(timed, errors, last_ns)
        counted.add_untimed(len(pairs) - len(timed), 0 if timed else errors, last_ns)
        ordinary = [duration for meta, duration in pairs if not meta & _UNORDINARY]
        if slow_ns := self._choosing.slow_ns_of(tool):
            ordinary = [duration for duration in ordinary if duration <= slow_ns]
        totals.shape_of(tool).add(ordinary)

    def _is_plain(self, tool: str, seen: int) -> bool:
        """True when all calls of *tool* have records, and all of these are chosen and timed."""
        return (
            not seen & SAMPLE_BITS
            and self._choosing.every_of(tool) == 1
            and not self._ledger.totals.is_sampled(tool)
        )

    def count_out(self, worker: WorkerDrain) -> None:
        """Count what of *worker* has ended without a record since the last time."""
        for tool, calls in worker.take_sampled_out():
            now_ns = self._wall.now_ns()
            self._ledger.totals.of(tool).count_out(calls, now_ns)
            self.accounts.count_out(worker, calls)  # point: counting-out
