"""
Who is there: workers found by their presence, attached to, and let go of once they are buried.

    present → attached ──► dead → drained → journalled as buried → memory and presence removed
                 └► not readable: it waits while its worker lives, and is buried unread afterwards

What a burial means for the books is the ingest's; this is about processes and their memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from shmperf.analysis.unattached import Unattached
from shmperf.errors import FormatError, SegmentGone
from shmperf.session.presence import Presence
from shmperf.session.session import Session
from shmperf.shm.inflight import OpenRow
from shmperf.shm.memory import attach_memory, remove_memory
from shmperf.storage.state import Ledger

from .drain import WorkerDrain
from .naming import Naming
from .unread import Unread

__all__ = ["Roster"]

# A file system's clock stands still for up to a tick of the kernel's, 10 ms at most.
_TICK_NS = 20_000_000


class Roster:
    """The workers of one session; the collector's thread."""

    def __init__(self, session: Session, ledger: Ledger, fault: Callable[[str, str], None]) -> None:
        """*fault* counts and tells what can't be read, by cause."""
        self.workers: dict[str, WorkerDrain] = {}
        self.naming = Naming(ledger, fault)
        self._session = session
        self._ledger = ledger
        self._fault = fault
        self._presences: dict[str, Presence] = {}
        self._removed: list[str] = []
        self._unread = Unread(session.directory, ledger, fault)
        self._is_past_known = False
        self._looked_ns = self._changed_ns = 0

    def may_have_changed(self) -> bool:
        """False when nobody has come or gone since the last `find`, for one look at a directory."""
        changed_ns = self._session.changed_ns()
        return changed_ns != self._changed_ns or changed_ns > self._looked_ns - _TICK_NS

    def find(self) -> list[Presence]:
        """Attach to who has come; returns the dead of whom nothing can be read any more."""
        self._looked_ns, self._changed_ns = time.time_ns(), self._session.changed_ns()
        unread = []
        self._unread.look_anew()
        for presence in self._session.presences(known=self._presences):
            if presence.is_coming:
                if presence.died_coming():
                    self.remove(presence)
            elif presence.segment in self._ledger.state.buried:
                self.remove(presence)
            elif (problem := self._try_attach(presence)) is not None and not self._unread.waits(
                presence, problem
            ):
                unread.append(presence)
        return unread

    def _try_attach(self, presence: Presence) -> Exception | None:
        """Attach to a worker; what keeps its memory from being read now."""
        name = presence.segment
        known = self._ledger.state.workers.get(name)
        try:
            directory = self._session.directory
            self.workers[name] = WorkerDrain(
                name, known, directory, self.naming, is_past_known=self._is_past_known
            )
        except (SegmentGone, FormatError, OSError, MemoryError) as error:
            return error
        self._presences[name] = presence  # point: find-found
        return None

    @property
    def is_anybody_waiting(self) -> bool:
        """True when somebody who is there could not be read at the last look."""
        return self._unread.is_anybody() or bool(self._failed())

    def unattached(self) -> Unattached:
        """Who is there and could not be read at the last look, and what had begun there."""
        return self._unread.told(self._failed())

    def _failed(self) -> dict[str, str]:
        """Those attached to whom the last look failed at, by segment: why."""
        return {name: one.problem for name, one in self.workers.items() if one.problem}

    def settle(self, left_out: Mapping[str, Mapping[int, int]]) -> None:
        """The past is known: how much of whose calls without a record is counted in it."""
        self._is_past_known = True
        for worker in self.each():
            worker.left_out.settle(left_out.get(worker.name, {}))

    def vanished(self) -> list[str]:
        """
        Workers that the journal knows and of whom nothing is left: neither presence nor memory.

        Their directory was removed, the machine was started anew, or a collector was killed that
        had buried them and could not journal it.
        """
        known = self._ledger.state.workers.keys() - self.workers.keys()
        if not known:
            return []
        here = {presence.segment for presence in self._session.presences()}
        directory = self._session.directory
        gone = [name for name in sorted(known - here) if _has_no_memory(name, directory)]
        for name in gone:
            left = self._ledger.state.workers[name]
            if left.begun > left.finished + left.lost:
                self._fault(
                    "segment_gone", f"{name}: neither memory nor presence is there any more"
                )
        self._removed += gone
        return gone

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
        workers = self.each()
        for worker in workers:
            worker.read_rows(everywhere=True)
        return [(worker, row) for worker in workers for row in worker.rows.open.values()]

    def pids(self) -> list[int]:
        """Their process ids, each in the namespace of its process."""
        return [worker.pid for worker in self.workers.values()]

    def is_pressed(self) -> bool:
        """True when a fourth of a large ring was found full, or half of all that a worker has."""
        return any([worker.lanes.take_pressure() for worker in self.workers.values()])  # noqa: C419  of all

    def seen_pids(self) -> list[int]:
        """Those of processes that are seen from here: another namespace's pid is somebody else."""
        identities = [presence.identity for presence in self._presences.values()]
        return [one.pid for one in identities if one is not None and one.is_running()]

    def wants_release(self) -> bool:
        """True when what is read and not released is much of somebody's rings."""
        return any(worker.wants_release() for worker in self.each())

    def close(self) -> None:
        """Let go of everybody's memory."""
        for worker in self.each():
            worker.close()


def _has_no_memory(name: str, directory: Path) -> bool:
    try:
        memory = attach_memory(name, directory)
    except SegmentGone:
        return True
    except (OSError, FormatError):
        return False
    memory.buffer.release()
    memory.close()
    return False
