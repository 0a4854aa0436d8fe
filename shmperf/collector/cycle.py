"""
The duty cycle of the one process that drains a session.

    find workers → drain, within limits → settle trees → journal → release → flush → sample → answer

`Collector.step` does that once and returns how many records it handled; the loop around it only
decides how long to wait. Four objects do the work and note what they change: `Roster` (who is
there), `Ingest` (what records mean), `Flusher` (files), `Requests` (answers). The cycle alone
builds frames of what they noted, journals them and makes them the state. Slots are released after
the frame that holds their meaning is in the journal, so whoever kills this process loses nothing.
All writing happens in one thread, the `Disk`; when that is stuck or fails, draining and counting go
on in memory, slots are released all the same, and the next successful write is a whole snapshot.

A failing worker, tool or request never stops the cycle: what it raised is counted and shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import Enum

import msgspec

from shmperf.analysis.anomaly import UNUSUAL
from shmperf.config.options import Options
from shmperf.session.files import write_aside
from shmperf.session.server import Server
from shmperf.session.session import Session
from shmperf.session.word import is_in_detail
from shmperf.shm.memory import remove_memory
from shmperf.storage.state import Frame, Ledger
from shmperf.storage.writer import Disk

from .drain import WorkerDrain
from .ending import Ending
from .parts import Parts
from .requests import Deeds, Requests
from .settings import Settings

__all__ = ["Collector", "Pressure", "Waits"]


# A round that finds so many goes on with rings before files.
_MANY = 200


class Pressure(Enum):
    """How much rings had filled up at the last look; how much of the wait that leaves."""

    NONE = 1.0
    SOME = 0.5
    MUCH = 0.25


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """How long the cycle waits for what, in seconds."""

    busy_s: float = 0.001
    watched_s: float = 0.04
    commit_s: float = 0.5
    find_s: float = 0.04
    liveness_s: float = 0.25
    flush_s: float = 0.25
    config_s: float = 1.0
    storage_s: float = 1.0
    linger_s: float = 0.5
    last_write_s: float = 10.0

    def next_s(self, wait_s: float, pressure: Pressure, longest_s: float) -> float:
        """
        How long to wait now, after *wait_s*: at most *longest_s*, less where rings fill.

        Nobody sees it wait. Who asks ends the wait, as who has filled half of a ring does; so the
        fewer looks there are, the more records there are for each to take.
        """
        if pressure is Pressure.NONE:
            return min(longest_s, wait_s * 1.5)
        return max(self.busy_s, wait_s * float(pressure.value))


class _Due:
    """When each part of the cycle has its turn again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at_s: dict[str, float] = {}

    def __call__(self, what: str, interval_s: float) -> bool:
        """True once in *interval_s*."""
        if self._clock() < self._at_s.get(what, 0.0):
            return False
        self.put_off(what, interval_s)
        return True

    def put_off(self, what: str, interval_s: float) -> None:
        """It has had its turn just now."""
        self._at_s[what] = self._clock() + interval_s


class Collector:
    """One session's collector; every method belongs to the one thread that runs the cycle."""

    def __init__(
        self,
        session: Session,
        server: Server,
        disk: Disk,
        *,
        waits: Waits | None = None,
        until_stopped: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session, self.server, self.disk = session, server, disk
        self.waits = waits or Waits()
        self.options: Options = session.options
        self.stopping = False
        self.parts = parts = Parts(session, disk, clock)
        self.ledger, self.past = parts.ledger, parts.past
        self.roster, self.ingest, self.flusher = parts.roster, parts.ingest, parts.flusher
        self.workers = self.roster.workers
        # Of one cleanup; the next frame tells it.
        self._has_cleaned = False
        deeds = Deeds(
            commit=self.commit,
            settle=self.settle,
            flush=self.begin_flush,
            cleanup=self.cleanup,
            stop=self.stop,
        )
        self.requests = Requests(parts, deeds, clock)
        configured = (self.configure, parts.configure, self.requests.configure)
        self._settings = Settings(session, parts.faults, configured)
        self._ending = Ending(self.waits.linger_s, self.waits.last_write_s, clock)
        self._until_stopped = until_stopped
        self._due = _Due(clock)
        self._guard = parts.faults.guard

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.options = options

    # --- life ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take up what the storage directory holds of this storage's past."""
        self._take_up()
        self.parts.wall.look()

    def run(self) -> None:
        """Cycle until the session is over or somebody asks to stop; leaves everything on disk."""
        due, waits = self._due, self.waits
        wait_s = waits.busy_s
        self.parts.supervisor.start()
        while not self.stopping:
            pending = self.server.wait(wait_s)
            handled = self.step()
            for request in pending:
                self._guard("request", self.requests.answer, request)
            self._guard("request", self.requests.answer_held)
            wait_s = waits.next_s(wait_s, self._pressure(), self._longest_wait_s())
            if self.flusher.is_behind:
                wait_s = 0.0
                continue
            if handled:
                continue
            stays = self._until_stopped or not self.session.keeps_itself or bool(self.workers)
            if self._ending.is_near(is_wanted=stays) and self._leave():
                return
            # Its directory was removed by hand: who comes now comes into another session.
            if not self.workers and due("place", waits.liveness_s) and not self.session.is_in_place:
                break
        self.finish()

    def _pressure(self) -> Pressure:
        if self.server.has_rung():
            return Pressure.MUCH
        return Pressure.SOME if self.roster.is_pressed() else Pressure.NONE

    def _longest_wait_s(self) -> float:
        """Shorter where lines are written as calls are drained, and for whoever comes and goes."""
        longest_s = self.options.collector.idle_wait_ms / 1000
        if self.workers and self.options.storage.async_save:
            return longest_s
        return min(longest_s, self.waits.watched_s)

    def stop(self) -> None:
        """End the cycle after the present round; safe in a signal handler."""
        self.stopping = True

    def step(self) -> int:
        """One round of the cycle; returns the records drained in it."""
        due, guard, waits = self._due, self._guard, self.waits
        if self._settings.have_changed():
            guard("settings", self._settings.take_up)
        if not self.past.is_taken_up and due("storage", waits.storage_s):
            guard("storage", self._take_up, late=True)
        if due("find", waits.find_s) or self.roster.may_have_changed():
            guard("find", self._find)
        if due("rows", waits.commit_s):
            for worker in self.roster.each():
                worker.rows.look_everywhere()
        handled = self._pass(self.roster.each())
        if due("liveness", waits.liveness_s):
            guard("bury", self._bury_the_dead)  # point: bury-look
        at_once = handled > 0 and not self.options.storage.async_save
        if due("commit", waits.commit_s) or self.roster.wants_release() or at_once:
            self.commit()
        # Rings that fill come first: a flush that is behind has its turn all the same.
        if due("flush", waits.flush_s) or at_once:
            guard("flush", self.flush_piece)
        elif self.flusher.is_behind and handled < _MANY:
            guard("flush", self._write_piece)
        if due("config", waits.config_s):
            self.parts.wall.look()
            guard("config", self._settings.take_up_file)
        guard("sample", self.parts.sampler.look, self.roster.seen_pids)
        return handled

    def settle(self) -> None:
        """Drain what had ended before, settle its trees, and journal it."""
        for _ in range(3):
            # What had ended before is in the first pass; two more settle its trees. No pass is
            # longer than the rings are, however fast the workers go on.
            self._find()
            self._pass(self.roster.each(), thoroughly=True)
        self._bury_the_dead()
        self.commit()

    def finish(self) -> None:
        """Drain, settle and write everything, compact every file, and close."""
        self.settle()  # point: finish-settle
        self._write_all()  # point: finish-write
        self._close()  # point: finish-close

    # --- workers ---------------------------------------------------------------------------------

    def _find(self) -> None:
        for presence in self.roster.find():
            self.parts.accounts.lose(presence.segment)
            self.commit()
            self.roster.remove(presence)

    def _pass(self, workers: list[WorkerDrain], *, thoroughly: bool = False) -> int:
        """Drain all of *workers*, then settle what that settles; returns the records drained."""
        handled = 0
        for worker in workers:
            handled += self._drain(worker, thoroughly=thoroughly)
            while thoroughly and worker.is_in_pass:
                handled += self._drain(worker, thoroughly=True)
        self.ingest.passes_done()
        return handled

    def _drain(self, worker: WorkerDrain, *, thoroughly: bool) -> int:
        handled = self.ingest.drain(worker, thoroughly=thoroughly)
        if worker.half_full():
            self.commit()
        return handled

    def _bury_the_dead(self) -> None:
        """The end of a dead worker: its open calls are aborted, its memory goes."""
        for name in self.roster.vanished():
            self.parts.accounts.lose(name)
        dead = list(self.roster.dead())
        if not dead:
            return
        # Their last calls may have children in processes that nobody has looked at since.
        self._find()
        self._pass(self.roster.each(), thoroughly=True)
        while self._pass(dead, thoroughly=True):
            pass
        for worker in dead:
            name = worker.name  # point: bury-drained
            self.ingest.bury(worker)  # point: bury-begin
            self.commit()
            self.parts.settling.forget(name)  # point: bury-journalled
            self.roster.bury(worker)

    # --- the journal -----------------------------------------------------------------------------

    def commit(self) -> None:
        """Journal what was drained since the last frame, make it the state, release its slots."""
        news = [worker for worker in self.roster.each() if worker.has_news]
        for worker in news:
            if worker.rows.has_cold:
                # What has ended has begun: a frame never says otherwise.
                worker.read_rows(everywhere=True)
        frame = self._build()
        # What lay below an exemplar is known a little after everything else.
        if not frame.is_empty() or self.ledger.exemplars.has_settled:
            frame.analyses = self.ledger.analyses.take_deltas()
            self.past.add(frame)
            if self.ledger.unusual.has_news:
                self._guard("unusual", _show_unusual, self.ledger, self.session)
        for worker in news:
            worker.release()  # point: commit-release
        for name in self.ingest.blobs:
            remove_memory(name, self.session.directory)  # point: commit-blob
        self.ingest.blobs.clear()  # point: commit-released
        self._due.put_off("commit", self.waits.commit_s)

    def _build(self) -> Frame:
        """The one place where a frame is built: of what every part has noted since the last."""
        drained = self.ingest.take_change(self.roster.each())
        accounted = self.parts.accounts.take_change(self.roster.each())
        filed = self.flusher.take_change()
        state, in_detail = self.ledger.state, is_in_detail(self.session.word[0])
        cleaned, self._has_cleaned = self._has_cleaned, False
        return Frame(
            workers=accounted.workers,
            kept=drained.kept,
            settled=drained.settled,
            files=filed.files,
            written=filed.written,
            outbox=filed.outbox,
            buried=accounted.buried,
            removed=self.roster.take_removed(),
            faults=self.parts.faults.news(state.faults),
            clock=self.parts.wall.take_change(),
            cleaned=cleaned,
            erased=filed.erased,
            optimization=None if in_detail == state.optimization else in_detail,
            nameless=accounted.nameless | self.roster.naming.take_change(),
        )

    def _journal_each(self, steps: Iterator[None]) -> None:
        """Run *steps*; what each has noted is in the journal before the next one begins."""
        for _ in steps:
            self.commit()

    # --- history ---------------------------------------------------------------------------------

    def begin_flush(self) -> int:
        """Write a first piece of all that is kept; the rest's number, see `Flusher.has_reached`."""
        number = self.flusher.choose(at_once=True)
        self._write_piece()
        return number

    def flush(self) -> None:
        """Write all that is kept to its files."""
        number = self.begin_flush()
        while not self.flusher.has_reached(number):
            self._write_piece()

    def flush_piece(self) -> None:
        """Write a piece of what is kept, when that is much or old enough."""
        late = self._due("interval", self.options.storage.flush_interval_seconds)
        self.flusher.choose(at_once=late)
        self._write_piece()

    def _write_piece(self) -> None:
        if self.past.is_taken_up:
            self._journal_each(self.flusher.flush())
        else:
            self.flusher.give_up()

    def cleanup(self) -> None:
        """Forget what had ended before, and delete its files; open calls count when they end."""
        self.settle()
        self._has_cleaned = True  # point: cleanup-settled
        self.commit()  # point: cleanup-frame
        self._journal_each(self.flusher.erase())  # point: cleanup-erase

    def _take_up(self, *, late: bool = False) -> None:
        if late:
            # What analyses have counted and not told yet would be lost with them.
            self.commit()
        if self.past.try_take_up():
            for worker in self.roster.each():
                # Not all frames of before may have found room to wait in.
                worker.rows.newly_ended = dict(worker.rows.ended)
            self._journal_each(self.flusher.erase())  # point: restart-erase
            self.past.snapshot()  # point: restart-snapshot

    def _write_all(self) -> None:
        # The last chance: a disk that is slow, or was full a moment ago, gets the time for it.
        self.disk.wait_for_return(self.waits.last_write_s)
        if not self.past.is_taken_up:
            self._guard("storage", self._take_up, late=True)
        self._guard("flush", self.flush)
        # point below: finish-compact
        self._guard("compact", self._journal_each, self.flusher.compact())
        if self.past.is_taken_up:
            self.past.snapshot()  # point: finish-snapshot

    # --- the end ---------------------------------------------------------------------------------

    def _close(self) -> None:
        self.requests.close()
        self.server.close()
        self.roster.close()
        if self.past.is_taken_up and not self.disk.reason:
            self.disk.drop_older()
        self.disk.close()  # point: finish-disk
        # It reads from the disk what came last.
        self.parts.supervisor.close()

    def _leave(self) -> bool:
        """
        End the session if nobody comes in; everything is written before.

        Whoever founds the next session on this storage must find nothing half done.
        """
        self._write_all()  # point: leave-write
        if self.disk.reason and not self._ending.is_patience_over():
            self._ending.put_off()
            return False
        if not self.session.leave():  # point: leave-session
            self._ending.put_off()
            return False
        self._close()  # point: leave-close
        return True


def _show_unusual(ledger: Ledger, session: Session) -> None:
    """Show what left its usual range to the workers, who tell their own programs."""
    write_aside(session.directory / UNUSUAL, msgspec.msgpack.encode(ledger.unusual.known))
