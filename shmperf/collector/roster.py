"""
Who is there: workers found by their presence, attached to, and let go of once they are buried.

    present → attached ──► dead → drained → journalled as buried → memory and presence removed
                 └► not readable: it waits while its worker lives, and is buried unread afterwards

What a burial means for the books is the ingest's; this is about processes and their memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from shmperf.errors import FormatError, SegmentGone
from shmperf.session.presence import Presence
from shmperf.session.session import Session
from shmperf.shm.inflight import OpenRow
from shmperf.shm.memory import remove_memory
from shmperf.storage.state import Ledger

from .drain import WorkerDrain

__all__ = ["Roster"]

# A file system's clock stands still for up to a tick of the kernel's, 10 ms at most.
_TICK_NS = 20_000_000


class Roster:
    """The workers of one session; the collector's thread."""

    def __init__(self, session: Session, ledger: Ledger, fault: Callable[[str, str], None]) -> None:
        """*fault* counts and tells what can't be read, by cause."""
        self.workers: dict[str, WorkerDrain] = {}
        self._session = session
        self._ledger = ledger
        self._fault = fault
        self._presences: dict[str, Presence] = {}
        self._removed: list[str] = []
        self._looked_ns = self._changed_ns = 0

    def may_have_changed(self) -> bool:
        """False when nobody has come or gone since the last `find`, for one look at a directory."""
        changed_ns = self._session.changed_ns()
        return changed_ns != self._changed_ns or changed_ns > self._looked_ns - _TICK_NS

    def find(self) -> list[Presence]:
        """Attach to who has come; returns the dead of whom nothing can be read any more."""
        self._looked_ns, self._changed_ns = time.time_ns(), self._session.changed_ns()
        unread = []
        for presence in self._session.presences(known=self._presences):
            if presence.is_coming:
                if presence.died_coming():
                    self.remove(presence)
            elif presence.segment in self._ledger.state.buried:
                self.remove(presence)
            elif self._is_hopeless(presence):
                unread.append(presence)
        return unread

    def _is_hopeless(self, presence: Presence) -> bool:
        """Attach to a worker; True when it is dead and that will never be possible."""
        name = presence.segment
        known = self._ledger.state.workers.get(name)
        try:
            self.workers[name] = WorkerDrain(name, known, self._session.directory)
        except SegmentGone as error:
            if presence.is_alive():
                return False
            self._fault("segment_gone", str(error))
            return True
        except (OSError, MemoryError) as error:
            # Of this process, not of that worker: its memory waits, dead or not.
            self._fault("segment_waits", f"{name}: {error}")
            return False
        except FormatError as error:
            self._fault("segment_refused", str(error))
            return not presence.is_alive()
        self._presences[name] = presence  # point: find-found
        return False

    def dead(self) -> Iterator[WorkerDrain]:
        """Those whose process has gone, one after the other; what they stored is still there."""
        for name, presence in list(self._presences.items()):
            if not presence.is_alive():
                worker = self.workers[name]
                worker.is_dead = True  # point: bury-dead
                yield worker

    def bury(self, worker: WorkerDrain) -> None:
        """Let go of a dead worker whose end is journalled."""
        worker.close()
        del self.workers[worker.name]  # point: bury-forgotten
        self.remove(self._presences.pop(worker.name))

    def remove(self, presence: Presence) -> None:
        """Remove what a buried worker has left: its memory, then its presence."""
        remove_memory(presence.segment, self._session.directory)  # point: bury-memory
        presence.remove()  # point: bury-presence
        self._removed.append(presence.segment)  # point: bury-removed

    def take_removed(self) -> list[str]:
        """The names of those removed since it was last asked for."""
        removed, self._removed = self._removed, []
        return removed

    def each(self) -> list[WorkerDrain]:
        """Everybody attached to now."""
        return list(self.workers.values())

    def open_calls(self) -> list[tuple[WorkerDrain, OpenRow]]:
        """The calls that are open, as the rows say now, each with its worker."""
        return [(worker, row) for worker in self.each() for row in worker.read_rows()]

    def pids(self) -> list[int]:
        """Their process ids."""
        return [worker.pid for worker in self.workers.values()]

    def wants_release(self) -> bool:
        """True when what is read and not released fills half of somebody's ring."""
        return any(worker.half_full() for worker in self.each())

    def close(self) -> None:
        """Let go of everybody's memory."""
        for worker in self.each():
            worker.close()
