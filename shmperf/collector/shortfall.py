"""What a storage was not told before its last session ended, and what this session can't tell."""

from __future__ import annotations

from shmperf.files import path_text
from shmperf.session.session import Session
from shmperf.session.unwritten import (
    Unwritten,
    forget_unwritten,
    note_unwritten,
    read_unwritten,
)
from shmperf.storage.counters import Begun
from shmperf.storage.state import Ledger
from shmperf.storage.writer import Disk

from .accounts import Accounts

__all__ = ["Shortfall"]


class Shortfall:
    """Calls that are counted and can't be written; see `unwritten`. The collector's thread."""

    def __init__(self, session: Session, ledger: Ledger, disk: Disk, accounts: Accounts) -> None:
        self._root = session.directory.parent
        self._storage = session.storage
        self._ledger = ledger
        self._disk = disk
        self._accounts = accounts

    def take_up(self, known: Begun) -> bool:
        """
        Count as lost what a former collector knew beyond what is *known*; True when that is some.

        To be asked between the past and the first snapshot behind it.
        """
        note = read_unwritten(self._root, self._storage, self._disk.journal.mark)
        missing = 0 if note is None else note.begun - known.beside(note.left)
        if missing > 0:
            self._accounts.lose_unwritten(missing)
        return missing > 0

    def settle(self) -> None:
        """What was missing is in the storage by now."""
        forget_unwritten(self._root, self._storage)

    def leave(self) -> None:
        """The session ends, and the storage does not know all of it."""
        known = self._ledger.state.begun()
        note = Unwritten(
            storage=path_text(self._storage),
            snapshot=self._disk.journal.mark,
            begun=known.gone,
            left=sorted(known.by_worker),
            reason=self._disk.reason,
        )
        try:
            note_unwritten(self._root, self._storage, note)
        except OSError:
            return  # nothing can be written anywhere
