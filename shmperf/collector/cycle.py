"""
The duty cycle of the one process that drains a session.

    find workers → drain, within limits → settle trees → journal → release → flush → sample → answer

`Collector.step` does that once and returns how many records it handled; the loop around it only
decides how long to wait. Four objects do the work and note what they change: `Roster` (who is
there), `Ingest` (what records mean), `Flusher` (files), `Requests` (answers). `Frames` alone builds
frames of what they noted, journals them and makes them the state. Slots are released after the
frame that holds their meaning is in the journal, so whoever kills this process loses nothing.
All writing happens in one thread, the `Disk`; when that is stuck or fails, draining and counting go
on in memory, slots are released all the same, and the next successful write is a whole snapshot.

A failing worker, tool or request never stops the cycle: what it raised is counted and shown.
"""

from __future__ import annotations

from shmperf.config.options import Options
from shmperf.session.server import Server
from shmperf.session.session import Session
from shmperf.storage.writer import Disk

from .drain import WorkerDrain
from .ending import Ending
from .frames import Frames
from .heap import Heap
from .optimizing import Optimizing, Steps
from .pace import Clocks, Due, Thrift, Waits, pressure_of
from .parts import Parts
from .requests import Deeds, Requests
from .runrequests import RunRequests
from .settings import Settings

__all__ = ["Collector"]


# A round that finds so many goes on with rings before files.
_MANY = 200


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
        clocks: Clocks | None = None,
    ) -> None:
        self.session, self.server, self.disk = session, server, disk
        self.waits = waits or Waits()
        clocks = clocks or Clocks()
        clock = clocks.seconds
        self.options: Options = session.options
        self.stopping = False
        self.parts = parts = Parts(session, disk, clock)
        self.ledger, self.past = parts.ledger, parts.past
        self.roster, self.ingest, self.flusher = parts.roster, parts.ingest, parts.flusher
        self.workers = self.roster.workers
        self._due = Due(clock)
        self._heap = Heap(clock)
        self._thrift = Thrift(clock, self.waits.thrift_s)
        self.frames = Frames(parts, self._due, self.waits.commit_s)
        self.commit = self.frames.commit
        steps = Steps(self.settle, self.commit, self.frames.cut.update)
        self.optimizing = Optimizing(parts, steps, clocks)
        deeds = Deeds(
            commit=self.commit,
            settle=self.settle,
            flush=self.begin_flush,
            cleanup=self.cleanup,
            stop=self.stop,
            runs=RunRequests(self.optimizing, clock),
        )
        self.requests = Requests(parts, deeds, clock)
        configured = (
            self.configure,
            parts.configure,
            self.requests.configure,
            self.optimizing.configure,
        )
        self._settings = Settings(session, parts.faults, configured)
        self._ending = Ending(self.waits.linger_s, self.waits.last_write_s, clock)
        self._until_stopped = until_stopped
        self._guard = parts.faults.guard

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.options = options

    # --- life ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take up what the storage directory holds of this storage's past."""
        self._take_up()
        self.parts.wall.look()
        self.ingest.dating.look()

    def run(self) -> None:
        """Cycle until the session is over or somebody asks to stop; leaves everything on disk."""
        due, waits = self._due, self.waits
        wait_s = waits.busy_s
        self.parts.supervisor.start()
        while not self.stopping:
            # What is behind with files goes on at once, and leaves the pace as it is.
            pending = self.server.wait(0.0 if self.parts.are_behind else wait_s)
            has_rung = self.server.has_rung()
            is_unhurried = bool(self.workers) and self.options.storage.async_save
            is_watched = self.ingest.dating.in_run or not is_unhurried
            handled = self.step(thrifty=not (pending or has_rung or is_watched))
            for request in pending:
                self._guard("request", self.requests.answer, request)
            self._guard("request", self.requests.answer_held)
            pressure = pressure_of(has_rung=has_rung, fills=self.roster.is_pressed())
            longest_s = self.options.collector.idle_wait_ms / 1000
            wait_s = waits.next_s(wait_s, pressure, longest_s, is_watched=is_watched)
            if handled or self.parts.are_behind:
                continue
            stays = self._until_stopped or not self.session.keeps_itself or bool(self.workers)
            if self._ending.is_near(is_wanted=stays) and self._leave():
                return
            # Its directory was removed by hand: who comes now comes into another session.
            if not self.workers and due("place", waits.liveness_s) and not self.session.is_in_place:
                break
        self.finish()

    def stop(self) -> None:
        """End the cycle after the present round; safe in a signal handler."""
        self.stopping = True

    def step(self, *, thrifty: bool = False) -> int:
        """
        One round of the cycle; returns the records drained in it.

        A *thrifty* one leaves rings alone until reading them is worth it.
        """
        due, guard, waits = self._due, self._guard, self.waits
        if self._settings.have_changed():
            guard("settings", self._settings.take_up)
        if not self.past.is_taken_up and due("storage", waits.storage_s):
            guard("storage", self._take_up, late=True)
        if due("find", waits.find_s) or self.roster.may_have_changed():
            guard("find", self._find)
        if due("rows", waits.rows_s):
            for worker in self.roster.each():
                worker.rows.look_everywhere()
        reads = not thrifty or self._thrift.is_due()
        handled = self._pass(self.roster.each()) if reads else 0
        if due("liveness", waits.liveness_s):
            guard("bury", self._bury_the_dead)  # point: bury-look
        at_once = handled > 0 and not self.options.storage.async_save
        is_wanted = self.roster.wants_release() or self.ledger.unusual.has_untold
        if due("commit", waits.commit_s) or is_wanted or at_once:
            self.commit()
        # Rings that fill come first: a flush that is behind has its turn all the same.
        if due("flush", waits.flush_s) or at_once:
            guard("flush", self.flush_piece)
        elif self.flusher.is_behind and handled < _MANY:
            guard("flush", self._write_piece)
        guard("archive", self.frames.commit_each, self.parts.archiving.turn(handled < _MANY))
        if self.ingest.dating.in_run or due("optimization", waits.optimization_s):
            guard("optimization", self.optimizing.look)
        guard("alerts", self.frames.commit_each, self.parts.watch(due("alerts", waits.alerts_s)))
        if due("config", waits.config_s):
            self.parts.wall.look()
            self.parts.wall.tell(self.parts.faults)
            guard("config", self._settings.take_up_file)
        guard("sampling", self.parts.choosing.look)
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
        if not thoroughly:
            self.parts.lag.look()
        handled, batches = 0, self.ingest.batches
        for worker in workers:
            goes_on = True
            while goes_on:
                handled += self.ingest.drain(worker, thoroughly=thoroughly)
                if worker.wants_release():
                    self.commit()
                goes_on = thoroughly and worker.is_in_pass
        self.ingest.passes_done()
        if not thoroughly:
            self._thrift.note(handled, self.ingest.batches - batches)
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

    # --- history ---------------------------------------------------------------------------------

    def begin_flush(self) -> int:
        """Write a first piece of all that is kept; the rest's number, see `Flusher.has_reached`."""
        number = self.flusher.choose(at_once=True)
        self._write_piece()
        return number

    def flush(self) -> None:
        """Write all that is kept to its files."""
        number = self.begin_flush()
        while not self.flusher.has_reached(number) or self.flusher.is_cutting:
            self._write_piece()

    def flush_piece(self) -> None:
        """Write a piece of what is kept, when that is much or old enough."""
        late = self._due("interval", self.options.storage.flush_interval_seconds)
        self.flusher.choose(at_once=late)
        self._write_piece()

    def _write_piece(self) -> None:
        if self.past.is_taken_up:
            was_behind = self.flusher.is_behind
            self.frames.commit_each(self.flusher.flush())
            self.frames.commit_each(self.flusher.cut())
            self.frames.commit_each(self.flusher.telling.turn())
            if was_behind and not self.flusher.is_behind:
                self._heap.note_flush()
            self._heap.look()
        else:
            self.flusher.give_up()

    def cleanup(self) -> None:
        """Forget what had ended before, and delete its files; open calls count when they end."""
        self.settle()
        self.parts.archiving.give_up()
        self.frames.has_cleaned = True  # point: cleanup-settled
        self.commit()  # point: cleanup-frame
        self.frames.commit_each(self.flusher.erase())  # point: cleanup-erase
        self.parts.alerting.erase()

    def _take_up(self, *, late: bool = False) -> None:
        if late:
            # What analyses have counted and not told yet would be lost with them.
            self.commit()
        if self.past.try_take_up():
            self.optimizing.resume()
            self.roster.settle(self.past.left_out)
            for worker in self.roster.each():
                # Not all frames of before may have found room to wait in.
                worker.rows.newly_ended = dict(worker.rows.ended)
                self.parts.counting.count_out(worker)
            self.frames.commit_each(self.flusher.erase())  # point: restart-erase
            if self.parts.shortfall.take_up(self.past.begun) or late:
                self.commit()  # point: restart-shortfall
            self.past.snapshot()  # point: restart-snapshot
            if not self.disk.reason:
                self.parts.shortfall.settle()
            self.ingest.dating.look()

    def _write_all(self) -> None:
        # The last chance: a disk that is slow, or was full a moment ago, gets the time for it.
        self.disk.wait_for_return(self.waits.last_write_s)
        if not self.past.is_taken_up:
            self._guard("storage", self._take_up, late=True)
        self._guard("optimization", self.optimizing.end, "session")
        self._guard("flush", self.flush)
        self._guard("alerts", self.frames.commit_each, self.parts.watch(True))
        self._guard("archive", self.frames.commit_each, self.parts.archiving.rest())
        # point below: finish-compact
        self._guard("compact", self.frames.commit_each, self.flusher.compact())
        if self.past.is_taken_up:
            self.past.snapshot()  # point: finish-snapshot

    # --- the end ---------------------------------------------------------------------------------

    def _close(self) -> None:
        self.requests.close()
        self.server.close()
        self.roster.close()
        if self.past.is_taken_up and self.disk.reason:
            self.parts.shortfall.leave()
        elif self.past.is_taken_up:
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
