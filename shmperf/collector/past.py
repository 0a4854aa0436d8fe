"""
What the journal holds of before, and what is put behind it.

A past that can't be read now is not overwritten: until it can, frames wait in memory, and are
applied behind it once it has been taken up.
"""

from __future__ import annotations

import msgspec

from shmperf.storage.counters import Begun
from shmperf.storage.state import Frame, Ledger, State
from shmperf.storage.writer import Disk, Listed

from .faults import Faults

__all__ = ["Past", "listed_in"]


def listed_in(state: State) -> Listed:
    """What of files is to be on the disk."""
    return Listed(state.files, state.outbox, state.segments, state.erasing_segments)


# Frames that wait for a past that can't be read yet.
_MOST_HELD = 1_000


class Past:
    """The journal as the cycle sees it; the collector's thread."""

    def __init__(self, ledger: Ledger, disk: Disk, faults: Faults) -> None:
        self.is_taken_up = False
        # Calls that had begun as far as the journal knows, without those that wait behind it.
        self.begun = Begun(0, {})
        # By worker: how much of its counters of calls without a record is counted in it.
        self.left_out: dict[str, dict[int, int]] = {}
        self._ledger = ledger
        self._disk = disk
        self._faults = faults
        self._held: list[Frame] = []

    def try_take_up(self) -> bool:
        """
        Read the past, and put what has been drained meanwhile behind it; False when it can't be.

        The files are as the journal lists them then; a `snapshot` has to follow.
        """
        recovered = self._disk.recover()  # point: restart-recover
        if recovered is None:
            self._faults.told["storage"] = self._disk.reason
            return False
        self.is_taken_up = True
        self._faults.mended("storage")
        # point below: restart-restore
        unread = self._ledger.restore(recovered.snapshot, recovered.frames)
        self._faults.carry_on(self._ledger.state.faults)
        damage = recovered.damage or unread
        if damage:
            self._faults.count("journal_damaged", damage)
        self.begun = self._ledger.state.begun()
        workers = self._ledger.state.workers
        self.left_out = {name: dict(worker.sampled_out) for name, worker in workers.items()}
        for frame in self._held:
            self._ledger.apply(frame)
        self._held.clear()
        # point below: restart-files
        restored = self._disk.restore_files(listed_in(self._ledger.state))
        if restored is not None:
            restored.outbox.apply(self._ledger.state.outbox)
            self._ledger.state.segments.update(restored.segments)
        return True

    def add(self, frame: Frame) -> None:
        """Make *frame* part of the state, and journal it: when it returns, slots may go."""
        payload = msgspec.msgpack.encode(frame)  # point: commit-encode
        self._ledger.apply(frame, live=True)  # point: commit-apply
        if self.is_taken_up:
            self._disk.append(payload, self._ledger.encode)  # point: commit-append
        else:
            self._held = [*self._held[-_MOST_HELD:], frame]

    def snapshot(self) -> None:
        """Replace the journal by the state as it is."""
        self._disk.snapshot(self._ledger.encode)
