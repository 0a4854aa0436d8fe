"""
Whose a storage directory is: its session's collector holds a lock there, and names the session.

A directory that was deleted takes both along. Whoever makes it anew claims it anew, before a word
is written: where another session has come meanwhile, it is that one's until its end.
"""

from __future__ import annotations

from shmperf.errors import SessionError, StoreError
from shmperf.stdlib import os, secrets

from .files import draw_numbers
from .membership import is_still
from .paths import internals_of
from .session import FIRST_RANDOM, Session

__all__ = ["StorageClaim"]

# More blocks than a session has drawn; a new directory would give the same numbers again.
_BEYOND = 1 << 28


class StorageClaim:
    """The hold of one collector; its thread's, then its writer's."""

    def __init__(self, session: Session) -> None:
        """Raises SessionError where the storage is another collector's."""
        self._session = session
        # None where the storage can't be written.
        self._fd = session.claim_storage()

    def renew(self) -> None:
        """Hold the storage again, if that is not the one that was held; StoreError."""
        try:
            place = internals_of(self._session.storage)
            if self._fd is not None and is_still(place / "collector.lock", self._fd):
                return
            fd = self._session.claim_storage()
        except SessionError as error:
            raise StoreError(str(error)) from None
        had, self._fd = self._fd, fd
        if had is None:
            return
        os.close(had)
        if fd is not None:
            draw_numbers(place / "blocks", _BEYOND + secrets.randbelow(_BEYOND), FIRST_RANDOM)

    def release(self) -> None:
        """Let go of it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
