"""
Who is there: workers found by their presence, attached to, and let go of once they are buried.

    present → attached ──► dead → drained → journalled as buried → memory and presence removed
                 └► not readable: it waits while its worker lives, and is buried unread afterwards

While one waits, no answer is complete and nothing counts as flushed.

What a burial means for the books is the ingest's; this is about processes and their memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from shmperf.analysis.unattached import Unattached
from shmperf.errors import FormatError, SegmentGone
from shmperf.files import check_ours, open_private
from shmperf.session.presence import Presence
from shmperf.session.session import Session
from shmperf.shm.inflight import OpenRow
from shmperf.shm.memory import SHARED_MEMORY, attach_memory, remove_memory
from shmperf.shm.segment import begun_unmapped
from shmperf.storage.state import Ledger

from .drain import WorkerDrain
from .naming import Naming

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
        # Who is there and can't be read, by segment: why.
        self._waiting: dict[str, str] = {}
        self._looked_ns = self._changed_ns = 0

    def may_have_changed(self) -> bool:
        """False when nobody has come or gone since the last `find`, for one look at a directory."""
        changed_ns = self._session.changed_ns()
        return changed_ns != self._changed_ns or changed_ns > self._looked_ns - _TICK_NS

    def find(self) -> list[Presence]:
        """Attach to who has come; returns the dead of whom nothing can be read any more."""
        self._looked_ns, self._changed_ns = time.time_ns(), self._session.changed_ns()
        unread = []
        waited, self._waiting = self._waiting, {}
        for presence in self._session.presences(known=self._presences):
            if presence.is_coming:
                if presence.died_coming():
                    self.remove(presence)
            elif presence.segment in self._ledger.state.buried:
                self.remove(presence)
            elif (problem := self._try_attach(presence)) is not None:
                if self._is_hopeless(presence, problem, is_new=presence.segment not in waited):
                    unread.append(presence)
                else:
                    self._waiting[presence.segment] = str(problem) or type(problem).__name__
        return unread

    def _try_attach(self, presence: Presence) -> Exception | None:
        """Attach to a worker; what keeps its memory from being read now."""
        name = presence.segment
        known = self._ledger.state.workers.get(name)
        try:
            directory = self._session.directory
            self.workers[name] = WorkerDrain(name, known, directory, self.naming)
        except (SegmentGone, FormatError, OSError, MemoryError) as error:
            return error
        self._presences[name] = presence  # point: find-found
        return None

    def _is_hopeless(self, presence: Presence, problem: Exception, *, is_new: bool) -> bool:
        """True when the worker is dead and its memory will never be read; counted once."""
        if isinstance(problem, SegmentGone):
            if presence.is_alive():
                return False
            self._fault("segment_gone", str(problem))
            return True
        if isinstance(problem, FormatError):
            if is_new:
                self._fault("segment_refused", str(problem))
            return not presence.is_alive()
        # Of this process, not of that worker: its memory waits, dead or not.
        if is_new:
            self._fault("segment_waits", f"{presence.segment}: {problem}")
        return False

    @property
    def is_anybody_waiting(self) -> bool:
        """True when somebody who is there could not be read at the last look."""
        return bool(self._problems())

    def unattached(self) -> Unattached:
        """Who is there and could not be read at the last look, and what had begun there."""
        problems = self._problems()
        calls = sum(map(self._unread_calls, self._waiting))
        reason = next(reversed(problems.values()), "")
        return Unattached(workers=len(problems), calls=calls, reason=reason)

    def _problems(self) -> dict[str, str]:
        """Who is there and could not be read at the last look, by segment: why."""
        failed = {name: one.problem for name, one in self.workers.items() if one.problem}
        return failed | self._waiting

    def _unread_calls(self, name: str) -> int:
        """Calls in a segment that can't be mapped, beyond those that are in the books already."""
        known = self._ledger.state.workers.get(name)
        for place in (SHARED_MEMORY, self._session.directory):
            try:
                fd = open_private(place / name, os.O_RDONLY)
            except OSError:
                continue
            try:
                check_ours(fd)
                return max(0, begun_unmapped(fd) - (known.begun if known is not None else 0))
            except OSError:
                continue
            finally:
                os.close(fd)
        return 0

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
        gone = [name for name in sorted(known - here) if self._has_no_memory(name)]
        for name in gone:
            left = self._ledger.state.workers[name]
            if left.begun > left.finished + left.lost:
                self._fault(
                    "segment_gone", f"{name}: neither memory nor presence is there any more"
                )
        self._removed += gone
        return gone

    def _has_no_memory(self, name: str) -> bool:
        try:
            memory = attach_memory(name, self._session.directory)
        except SegmentGone:
            return True
        except (OSError, FormatError):
            return False
        memory.buffer.release()
        memory.close()
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
        workers = self.each()
        for worker in workers:
            worker.read_rows(everywhere=True)
        return [(worker, row) for worker in workers for row in worker.rows.open.values()]

    def pids(self) -> list[int]:
        """Their process ids, each in the namespace of its process."""
        return [worker.pid for worker in self.workers.values()]

    def is_pressed(self) -> bool:
        """True when the last passes found a fourth of a large ring full."""
        return any([worker.take_pressure() for worker in self.workers.values()])  # noqa: C419  of all

    def seen_pids(self) -> list[int]:
        """Those of processes that are seen from here: another namespace's pid is somebody else."""
        identities = [presence.identity for presence in self._presences.values()]
        return [one.pid for one in identities if one is not None and one.is_running()]

    def wants_release(self) -> bool:
        """True when what is read and not released fills half of somebody's ring."""
        return any(worker.half_full() for worker in self.each())

    def close(self) -> None:
        """Let go of everybody's memory."""
        for worker in self.each():
            worker.close()
