"""
The open calls of other processes of the session, as far as this one is asked what is above its own.

A call that was handed over has its parent elsewhere; that process's rows say what is above it, for
as long as it is open. Read by whoever hands a trace on, which is rare: nothing here is on the way
of a record.
"""

from __future__ import annotations

from shmperf.errors import ShmperfError
from shmperf.session.session import Session
from shmperf.shm.inflight import PARENT, block_of, row_in
from shmperf.shm.remote import Remote, RemoteReader, remote_block
from shmperf.shm.segment import Kind, SegmentReader

__all__ = ["Neighbours"]

_MOST = 64


class Neighbours:
    """Other processes' rows and contexts; whoever calls holds the process's guard."""

    def __init__(self) -> None:
        # By segment; None for one that can't be read.
        self._known: dict[str, _Neighbour | None] = {}

    def parent_of(self, session: Session, call_id: int) -> int | None:
        """What an open call of another process has as its parent; None when it is not there."""
        found = self._of_block(session, block_of(call_id))
        return None if found is None else found.parent_of(call_id)

    def remote(self, session: Session, context_id: int) -> Remote | None:
        """What the id of a context that another process has taken up stands for."""
        found = self._of_block(session, remote_block(context_id))
        return None if found is None else found.remotes.find(context_id)

    def own(self, session: Session, root: int) -> Remote | None:
        """The own context of the process in which the call *root* is."""
        found = self._of_block(session, block_of(root))
        return None if found is None else found.remotes.own(found.first_block)

    def close(self) -> None:
        """Let go of everybody's memory."""
        known, self._known = self._known, {}
        for neighbour in known.values():
            if neighbour is not None:
                neighbour.close()

    def _of_block(self, session: Session, block: int) -> _Neighbour | None:
        for found in self._known.values():
            if found is not None and found.has(block):
                return found
        if len(self._known) >= _MOST:
            self.close()
        for presence in session.presences(known=self._known):
            if presence.is_coming or len(self._known) >= _MOST:
                continue
            try:
                found = _Neighbour(SegmentReader(presence.segment, fallback=session.directory))
            except (ShmperfError, OSError, ValueError, MemoryError):
                found = None
            self._known[presence.segment] = found
            if found is not None and found.has(block):
                return found
        return None


class _Neighbour:
    """One other process."""

    def __init__(self, segment: SegmentReader) -> None:
        self._segment = segment
        self._blocks: dict[int, int] = {}
        self.remotes: RemoteReader = segment.remotes()
        self.first_block = 0

    def has(self, block: int) -> bool:
        """True when that block of rows is one of its own."""
        if block not in self._blocks:
            self._look()
        return block in self._blocks

    def parent_of(self, call_id: int) -> int | None:
        words, row = self._segment.words, row_in(self._blocks, call_id)
        if not row or words[row] != call_id:
            return None
        parent: int = words[row + PARENT]
        # Another call may have come meanwhile.
        return parent if words[row] == call_id else None

    def close(self) -> None:
        self._segment.close()

    def _look(self) -> None:
        for extent in self._segment.new_extents():
            if extent.kind == Kind.ROWS:
                self._blocks[extent.key] = extent.offset // 8
                self.first_block = self.first_block or extent.key
            elif extent.kind == Kind.REMOTE:
                self.remotes.add(extent.offset)
