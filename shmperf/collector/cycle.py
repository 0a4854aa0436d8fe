"""
The duty cycle of the one process that drains a session.

    find workers → drain → settle trees → limits → journal → release → flush → answer → sample

`Collector.step` does that once and returns how many records it handled; the loop around it only
decides how long to wait. Slots are released after the frame that holds their meaning is in the
journal, so whoever kills this process loses nothing. All writing happens in one thread, the
`Disk`; when that is stuck or fails, draining and counting go on in memory, slots are released all
the same, and the next successful write is a whole snapshot.

A failing worker, tool or request never stops the cycle: what it raised is counted and shown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import msgspec

from shmperf.analysis.anomaly import UNUSUAL, told_of
from shmperf.config.options import Options
from shmperf.errors import FormatError, SegmentGone, ShmperfError
from shmperf.session.files import write_aside
from shmperf.session.messages import (
    Changes,
    Cleanup,
    Errors,
    Figures,
    Flush,
    InFlight,
    Mode,
    Ping,
    Stats,
    Status,
    Stop,
    TotalsOf,
    Tree,
)
from shmperf.session.presence import Presence
from shmperf.session.server import Pending, Server
from shmperf.session.session import Session
from shmperf.shm.memory import remove_memory
from shmperf.storage.state import Clock, Frame, Ledger
from shmperf.storage.writer import Disk

from .drain import WorkerDrain
from .flusher import Flusher
from .ingest import Intake
from .resources import Sampler
from .supervisor import SinkKeeper

__all__ = ["Collector", "Waits"]

# Frames that wait for a past that can't be read yet.
_MOST_HELD = 1_000

# So many in a round keep the collector awake.
_MANY = 200


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """How long the cycle waits for what, in seconds."""

    busy_s: float = 0.001
    light_s: float = 0.005
    commit_s: float = 0.05
    find_s: float = 0.04
    liveness_s: float = 0.25
    flush_s: float = 0.25
    config_s: float = 1.0
    storage_s: float = 1.0
    linger_s: float = 0.5
    last_write_s: float = 10.0


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
        self.session = session
        self.options: Options = session.options
        self.server = server
        self.disk = disk
        self.waits = waits or Waits()
        self.ledger = Ledger(self.options)
        self.workers: dict[str, WorkerDrain] = {}
        self.presences: dict[str, Presence] = {}
        self.records = 0
        self.stopping = False
        self._until_stopped = until_stopped
        self._clock = clock
        self._sampler = Sampler(self.options.collector.sample_interval_seconds)
        self.intake = Intake(self.ledger, self._fault)
        self.flusher = Flusher(self.ledger, self.intake, disk, self.commit, self._fault)
        self._sink = SinkKeeper(session.directory, session.storage, clock)
        self._faults: dict[str, int] = {}
        self._told: dict[str, str] = {}
        self._waiting: list[tuple[Pending, Callable[[], Any]]] = []
        self._held: list[Frame] = []
        self._is_taken_up = False
        self._due: dict[str, float] = {}
        self._generation = -1
        self._started_s = clock()
        self._quiet_since_s: float | None = None
        self._give_up_at_s: float | None = None

    # --- life ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take up what the storage directory holds of this storage's past."""
        self._take_up()
        self._set_clock()

    def _take_up(self) -> None:
        """
        Read the past, and put what has been drained meanwhile behind it.

        What can't be read now is not overwritten: until it can, everything stays in memory.
        """
        recovered = self.disk.recover()  # point: restart-recover
        if recovered is None:
            self._told["storage"] = self.disk.reason
            return
        self._is_taken_up = True
        self._told.pop("storage", None)
        # point below: restart-restore
        unread = self.ledger.restore(recovered.snapshot, recovered.frames)
        damage = recovered.damage or unread
        for cause, count in self.ledger.state.faults.items():
            self._faults[cause] = self._faults.get(cause, 0) + count
        if damage:
            self._fault("journal_damaged", damage)
        for frame in self._held:
            self.ledger.apply(frame)
        self._held.clear()
        self.disk.restore_files(self.ledger.state.files)  # point: restart-files
        self._erase()  # point: restart-erase
        self.disk.snapshot(self.ledger.encode)  # point: restart-snapshot

    def run(self) -> None:
        """Cycle until the session is over or somebody asks to stop; leaves everything on disk."""
        wait_s = self.waits.busy_s
        self._sink.start(self.options.rag)
        while not self.stopping:
            pending = self.server.wait(wait_s)
            handled = self.step()
            for request in pending:
                self._guard("request", self._answer, request)
            idle_s = self.options.collector.idle_wait_ms / 1000
            # A few records can wait a little for more: whoever fills a ring rings the bell.
            longest_s = min(idle_s, self.waits.light_s) if handled else idle_s
            wait_s = self.waits.busy_s if handled >= _MANY else min(longest_s, wait_s * 1.5)
            if handled:
                continue
            if self._is_over() and self._leave():
                return
            if not self.workers and self._has_lost_its_place():
                break
        self.finish()

    def stop(self) -> None:
        """End the cycle after the present round; safe in a signal handler."""
        self.stopping = True

    def step(self) -> int:
        """One round of the cycle; returns the records drained in it."""
        if self.session.word[0] >> 8 != self._generation:
            self._guard("settings", self._take_up_settings)
        if not self._is_taken_up and self._is_due("storage", self.waits.storage_s):
            self._guard("storage", self._take_up)
        if self._is_due("find", self.waits.find_s):
            self._guard("find", self._find_workers)
        handled = self._drain_all()
        if self._is_due("liveness", self.waits.liveness_s):
            self._guard("bury", self._bury_the_dead)
        if self._should_commit() or (handled and not self.options.storage.async_save):
            self.commit()
        at_once = handled and not self.options.storage.async_save
        if self._is_due("flush", self.waits.flush_s) or at_once:
            self._guard("flush", self.flush, force=False)
        if self._is_due("config", self.waits.config_s):
            self._guard("config", self._take_up_configuration)
        self._guard("sample", self._sampler.look, self._pids)
        self.records += handled
        return handled

    def finish(self) -> None:
        """Drain, settle and write everything, compact every file, and close."""
        self.settle()  # point: finish-settle
        self._write_all()  # point: finish-write
        self._close()  # point: finish-close

    def _write_all(self) -> None:
        # The last chance: a disk that is slow, or was full a moment ago, gets the time for it.
        self.disk.wait_for_return(self.waits.last_write_s)
        if not self._is_taken_up:
            self._guard("storage", self._take_up)
        self._guard("flush", self.flush, force=True)
        self._guard("compact", self.flusher.compact)  # point: finish-compact
        if self._is_taken_up:
            self.disk.snapshot(self.ledger.encode)  # point: finish-snapshot

    def _close(self) -> None:
        for request, answer in self._waiting:
            request.reply(answer())
        self.server.close()
        for worker in self.workers.values():
            worker.close()
        self.disk.close()  # point: finish-disk
        # It reads from the disk what came last.
        self._sink.close()

    def settle(self) -> None:
        """Drain what had ended before, settle its trees, and journal it."""
        self._find_workers()
        for _ in range(3):
            # What had ended before is in the first pass; two more settle its trees. No pass is
            # longer than the rings are, however fast the workers go on.
            for worker in self._each():
                self._drain(worker, thoroughly=True)
        self._bury_the_dead()
        self.commit()

    # --- workers ---------------------------------------------------------------------------------

    def _find_workers(self) -> None:
        for presence in self.session.presences(known=self.presences):
            name = presence.segment
            if presence.is_coming:
                if presence.died_coming():
                    self._remove(presence)
                continue
            if name in self.ledger.state.buried:
                self._remove(presence)
                continue
            known = self.ledger.state.workers.get(name)
            try:
                self.workers[name] = WorkerDrain(name, known, self.session.directory)
            except SegmentGone as error:
                if not presence.is_alive():
                    self._fault("segment_gone", str(error))
                    self._bury_unread(presence)
                continue
            except (OSError, MemoryError) as error:
                # Of this process, not of that worker: its memory waits, dead or not.
                self._fault("segment_waits", f"{name}: {error}")
                continue
            except FormatError as error:
                self._fault("segment_refused", str(error))
                if not presence.is_alive():
                    self._bury_unread(presence)
                continue
            self.presences[name] = presence  # point: find-found

    def _bury_the_dead(self) -> None:
        for name, presence in list(self.presences.items()):
            if presence.is_alive():
                continue
            worker = self.workers[name]
            worker.is_dead = True  # point: bury-dead
            while self._drain(worker, thoroughly=True):
                pass
            self._bury(worker)  # point: bury-drained

    def _bury(self, worker: WorkerDrain) -> None:
        """The end of a dead worker: its open calls are aborted, its memory goes."""
        name = worker.name
        self.intake.bury(worker)  # point: bury-begin
        self.commit()
        self.intake.forget(name)  # point: bury-journalled
        worker.close()
        del self.workers[name]  # point: bury-forgotten
        self._remove(self.presences.pop(name))

    def _bury_unread(self, presence: Presence) -> None:
        """A dead worker whose memory is gone or damaged: what was not read of it is lost."""
        known = self.ledger.state.workers.get(presence.segment)
        if known is not None:
            missing = max(0, known.begun - known.finished - known.lost)
            change = msgspec.structs.replace(
                known,
                finished=0,
                lost=known.lost + missing,
                losses=known.losses | {"segment_gone": missing},
                positions={},
                ended={},
                callees={},
            )
            self.intake.frame.workers[presence.segment] = change
        self.intake.frame.buried.append(presence.segment)  # point: bury-unread
        self.commit()
        self._remove(presence)

    def _remove(self, presence: Presence) -> None:
        remove_memory(presence.segment, self.session.directory)  # point: bury-memory
        presence.remove()  # point: bury-presence
        self.intake.frame.removed.append(presence.segment)  # point: bury-removed

    def _each(self) -> list[WorkerDrain]:
        return list(self.workers.values())

    def _pids(self) -> list[int]:
        return [worker.pid for worker in self.workers.values()]

    # --- draining --------------------------------------------------------------------------------

    def _drain_all(self) -> int:
        return sum(self._drain(worker) for worker in self._each())

    def _drain(self, worker: WorkerDrain, *, thoroughly: bool = False) -> int:
        """A pass over one worker, unless it is quiet; its trees are settled behind it."""
        if worker.is_quiet() and not thoroughly:
            return 0
        try:
            handled = worker.run_pass(self.intake.take)
            self.intake.pass_done(worker)
            worker.read_rows()
        except Exception as error:  # noqa: BLE001  one worker's damage is not another's
            self._fault("drain", f"{worker.name}: {type(error).__name__}: {error}")
            return 0
        if worker.half_full():
            self.commit()
        return handled

    # --- the journal -----------------------------------------------------------------------------

    def commit(self) -> None:
        """Journal what was drained since the last frame, make it the state, release its slots."""
        news = [worker for worker in self._each() if worker.has_news]
        frame = self.intake.close_frame(self._each())
        frame.faults = self._changed_faults()
        if not frame.is_empty():
            frame.tree = self.ledger.tree.take_delta()
            payload = msgspec.msgpack.encode(frame)  # point: commit-encode
            self.ledger.apply(frame, live=True)  # point: commit-apply
            if frame.unusual:
                self._guard("unusual", self._show_unusual)
            if self._is_taken_up:
                self.disk.append(payload, self.ledger.encode)  # point: commit-append
            else:
                self._held = [*self._held[-_MOST_HELD:], frame]
        for worker in news:
            worker.release()  # point: commit-release
        for name in self.intake.blobs:
            remove_memory(name, self.session.directory)  # point: commit-blob
        self.intake.blobs.clear()  # point: commit-released
        self._due["commit"] = self._clock() + self.waits.commit_s

    def _show_unusual(self) -> None:
        """Show what left its usual range to the workers, who tell their own programs."""
        shown = msgspec.msgpack.encode(self.ledger.state.unusual)
        write_aside(self.session.directory / UNUSUAL, shown)

    def _should_commit(self) -> bool:
        return self._is_due("commit", self.waits.commit_s) or self._wants_release()

    def _wants_release(self) -> bool:
        return any(worker.half_full() for worker in self._each())

    # --- history ---------------------------------------------------------------------------------

    def flush(self, *, force: bool) -> None:
        """Write kept calls to their files: when many or old enough, or all with *force*."""
        if not self._is_taken_up:
            return
        late = self._is_due("interval", self.options.storage.flush_interval_seconds)
        self.flusher.flush(self.options.storage, at_once=force or late)

    def cleanup(self) -> None:
        """Forget what had ended before, and delete its files; open calls count when they end."""
        self.settle()
        self.ledger.tree.clear()  # point: cleanup-settled
        self.intake.frame.cleaned = True  # point: cleanup-frame
        self.commit()
        self._erase()  # point: cleanup-erase

    def _erase(self) -> None:
        """Delete what a cleanup has listed, one before a restart too."""
        if self.ledger.state.erasing and self.disk.erase(self.ledger.state.erasing):
            self.intake.frame.erased = True  # point: cleanup-erased
            self.commit()

    # --- requests --------------------------------------------------------------------------------

    def _answer(self, pending: Pending) -> None:
        try:
            self._answer_to(pending, pending.request)
        except ShmperfError as error:
            pending.fail(str(error))
        except Exception as error:
            # The cycle's guard counts it; who asked is told first.
            pending.fail(f"{type(error).__name__}: {error}")
            raise

    def _answer_to(self, pending: Pending, request: object) -> None:
        if isinstance(request, Ping):
            pending.reply(os.getpid())
            return
        if isinstance(request, Stop):
            self.stopping = True
            self._waiting.append((pending, lambda: True))
            return
        pending.reply(self._value_for(request))

    def _value_for(self, request: object) -> Any:
        if isinstance(request, Mode):
            return self._mode(request)
        if isinstance(request, Cleanup):
            if request.force or self.options.optimization.cleanup_on_optimize:
                self.cleanup()
                return True
            return False
        if isinstance(request, Changes):
            # Asked for all the time: it gets what is journalled, and nothing is done for it.
            self._sink.report = request.report
            return self.ledger.news(request.after)
        self.settle()
        if isinstance(request, Flush):
            self.flush(force=True)
            if self.disk.is_unavailable():
                raise ShmperfError(f"storage is unavailable: {self.disk.reason}")
            return True
        return self._report(request)

    def _report(self, request: object) -> Any:
        """What is known, everything that had ended included."""
        if isinstance(request, (Stats, Figures)):
            in_detail = bool(self.session.word[0] & 1)
            if in_detail != self.ledger.state.optimization:
                self.intake.frame.optimization = in_detail
                self.commit()
            ask = self.ledger.stats if isinstance(request, Stats) else self.ledger.figures
            return ask(request.tool, len(self.workers), complete=True)
        if isinstance(request, TotalsOf):
            known = self.ledger.state.totals
            return {tool: known[tool] for tool in request.tools if tool in known}
        if isinstance(request, Errors):
            return self.ledger.state.bugs
        if isinstance(request, Tree):
            return self._tree()
        if isinstance(request, InFlight):
            return self._in_flight()
        if isinstance(request, Status):
            return self._status()
        raise ShmperfError(f"found a request {type(request).__name__}, expected a known one")

    def _mode(self, request: Mode) -> str:
        if request.optimization is not None:
            self.session.set_mode(request.optimization)
        return "optimization" if self.session.word[0] & 1 else "normal"

    def _tree(self) -> list[dict[str, Any]]:
        opened = {
            found.id: worker.callee(found.callee).tool
            for worker in self._each()
            for found in worker.read_rows()
        }
        return [msgspec.to_builtins(edge) for edge in self.ledger.tree.graph(opened)]

    def _in_flight(self) -> list[dict[str, Any]]:
        now_ns = time.perf_counter_ns()
        found = [
            {
                "id": f"{opened.id:016x}",
                "tool": worker.callee(opened.callee).tool,
                "pid": worker.pid,
                "parent": f"{opened.parent:016x}" if opened.parent else None,
                "started": (opened.start_ns + self.intake.wall_offset_ns) / 1e9,
                "running_s": max(0.0, (now_ns - opened.start_ns) / 1e9),
            }
            for worker in self._each()
            for opened in worker.read_rows()
        ]
        return sorted(found, key=lambda row: -row["running_s"])

    def _status(self) -> dict[str, Any]:
        books = self.ledger.books(len(self.workers), complete=True)
        return {
            "session": self.session.name or self.session.directory.name,
            "storage": str(self.session.storage),
            "mode": self._mode(Mode()),
            "collector": {
                "pid": os.getpid(),
                "uptime_s": self._clock() - self._started_s,
                "records": self.records,
            },
            "storage_state": self.disk.reason or "ok",
            "workers": self._sampler.rows(self._pids()),
            "begun": books.begun,
            "lost": books.lost_by_cause(),
            "faults": books.faults,
            "told": dict(self._told),
            "unusual": [told_of(found) for found in self.ledger.state.unusual],
            "rag": self._sink.status(),
        }

    # --- housekeeping ----------------------------------------------------------------------------

    def _take_up_configuration(self) -> None:
        self._set_clock()
        options = self.session.changed_options()
        if options is None:
            return
        self._told.pop("config", None)
        self.session.publish(options)  # point: config-publish
        self._take_up_settings()

    def _take_up_settings(self) -> None:
        """The settings as they are now, whoever has changed them."""
        self._generation = self.session.word[0] >> 8
        self.options = self.ledger.options = self.session.reload()
        self.intake.configure(self.options)
        self.intake.watch(self.session.watch)
        self._sink.configure(self.options.rag)

    def _set_clock(self) -> None:
        """
        Relate the monotonic clock to wall time, once a boot.

        Steps of the wall clock change nothing afterwards, so no order changes either; a suspended
        machine's clock comes back later by more than a second, and only that is followed.
        """
        offset_ns = time.time_ns() - time.perf_counter_ns()
        boot_id = self.session.boot_id
        known = self.ledger.state.clock
        if known.boot_id != boot_id or offset_ns - known.offset_ns > 1_000_000_000:
            self.intake.frame.clock = known = Clock(boot_id, offset_ns)
        self.intake.wall_offset_ns = known.offset_ns

    def _is_over(self) -> bool:
        """True once a session that keeps itself has had no worker for a while."""
        if self._until_stopped or not self.session.keeps_itself or self.workers:
            self._quiet_since_s = self._give_up_at_s = None
            return False
        now = self._clock()
        if self._quiet_since_s is None:
            self._quiet_since_s = now
        return now - self._quiet_since_s >= self.waits.linger_s

    def _has_lost_its_place(self) -> bool:
        """True once the directory was removed by hand: who comes now comes into another session."""
        return self._is_due("place", self.waits.liveness_s) and not self.session.is_in_place

    def _leave(self) -> bool:
        """
        End the session if nobody comes in; everything is written before.

        Whoever founds the next session on this storage must find nothing half done.
        """
        self._write_all()  # point: leave-write
        if self.disk.reason and not self._is_patience_over():
            return False
        if not self.session.leave():  # point: leave-session
            self._quiet_since_s = None
            return False
        self._close()  # point: leave-close
        return True

    def _is_patience_over(self) -> bool:
        """True once a storage that can't be written has had its time to come back."""
        now = self._clock()
        if self._give_up_at_s is None:
            self._give_up_at_s = now + self.waits.last_write_s
        if now >= self._give_up_at_s:
            return True
        self._quiet_since_s = None
        return False

    def _is_due(self, what: str, interval_s: float) -> bool:
        now = self._clock()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + interval_s
        return True

    def _guard(self, what: str, action: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Run one part of a step; what it raises is counted and shown, and the cycle goes on."""
        try:
            action(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  the one guard of the cycle
            self._fault(what, f"{type(error).__name__}: {error}")

    def _fault(self, cause: str, text: str, count: int = 1) -> None:
        self._faults[cause] = self._faults.get(cause, 0) + count
        self._told[cause] = text

    def _changed_faults(self) -> dict[str, int]:
        known = self.ledger.state.faults
        return {c: n for c, n in self._faults.items() if known.get(c) != n}
