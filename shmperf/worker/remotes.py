"""
Contexts from elsewhere that this process has taken up: an id for each, which its calls begin under.

A context that is taken up for a block keeps its place for as long as that lasts. One that is taken
up for a call (a message's header, a span of OpenTelemetry) can be read until its place is used
again; the same one once more has the same id meanwhile.
"""

from __future__ import annotations

from shmperf.shm.causes import Fault
from shmperf.shm.remote import Remote, RemoteWriter
from shmperf.shm.segment import Segment

from .guard import Guard

__all__ = ["Remotes"]

_MOST_LATELY = 256


class Remotes:
    """The contexts of one process; none before it has a segment. Any thread."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._segment: Segment | None = None
        self._writer: RemoteWriter | None = None
        self._lately: dict[Remote, int] = {}
        # The process's own: what calls without a parent belong to.
        self.own: Remote | None = None

    def open(self, segment: Segment, block: int, own: Remote | None) -> None:
        """They lie in *segment*, whose first rows are *block*; *own* is the process's context."""
        self._segment, self._writer = segment, RemoteWriter(segment.buffer, block)
        if own is not None and segment.extend(self._writer):
            self._writer.put_own(own)
            self.own = own

    def hold(self, remote: Remote) -> int:
        """An id for *remote* that stands for it until `release`; 0 without room."""
        writer = self._writer
        if writer is None:
            return 0
        if writer.wants_more():
            self._guard.run(self._add, _refuse)
        context_id = writer.put(remote)
        if not context_id and self._segment is not None:
            self._segment.count_fault(Fault.NO_CONTEXT)
        return context_id

    def release(self, context_id: int) -> None:
        """The block that *context_id* was taken for has ended; one of another process's is kept."""
        if self._writer is not None:
            self._writer.give_back(context_id)

    def mention(self, remote: Remote) -> int:
        """An id for *remote* that stands for it until many others have come; 0 without room."""
        known = self._lately.get(remote, 0)
        if known and self._writer is not None and self._writer.holds(known):
            return known
        context_id = self.hold(remote)
        self.release(context_id)
        if len(self._lately) >= _MOST_LATELY:
            self._lately.clear()
        self._lately[remote] = context_id
        return context_id

    def find(self, context_id: int) -> Remote | None:
        """What *context_id* stands for, if this process has taken it up and still knows it."""
        return None if self._writer is None else self._writer.find(context_id)

    def _add(self) -> bool:
        if self._segment is None or self._writer is None:
            return False
        return self._segment.extend(self._writer)


def _refuse() -> bool:
    return False
