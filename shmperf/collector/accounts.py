"""
The accounts of the workers: how far each is read, what it began, what became of that.

What a worker counts itself (begun, lost, faults) is taken as it is now; what was drained of it is
added up here. A dead worker's account is closed: nothing of it stays in flight.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shmperf.shm.beyond import MOST_SHOWN
from shmperf.shm.ring import Batch
from shmperf.storage.state import Ledger, WorkerState

from .drain import WorkerDrain

__all__ = ["Accounted", "Accounts"]


class Accounted(msgspec.Struct):
    """
    What a frame says of workers: those that have changed, and those that are closed.

    ``nameless`` has the first of the tools that are counted together, for want of names;
    ``removed`` are workers of whom nothing is left.
    """

    workers: dict[str, WorkerState] = {}
    buried: list[str] = []
    nameless: dict[str, list[str]] = {}
    removed: list[str] = []


class Accounts:
    """What has changed since the last frame, by worker; the collector's thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._change = Accounted()

    def take_change(self, workers: Iterable[WorkerDrain]) -> Accounted:
        """What was noted so far, with how far *workers*, all of them, are read; begins anew."""
        for worker in workers:
            if worker.has_news and worker.name not in self._change.buried:
                self._note(worker)
                self._note_nameless(worker)
        change, self._change = self._change, Accounted()
        return change

    def drained(self) -> int:
        """All calls that have ended and were drained, those that no frame has told yet as well."""
        untold = sum(change.finished for change in self._change.workers.values())
        return self._ledger.state.drained() + untold

    def add(self, worker: WorkerDrain, batches: list[Batch]) -> None:
        """The calls of these *batches* have ended, and are drained."""
        worker.rows.end_all(batches)
        change = self._change.workers.get(worker.name)
        if change is None:
            change = self._change.workers[worker.name] = WorkerState()
        change.finished += sum(map(len, batches))

    def count_out(self, worker: WorkerDrain, calls: int) -> None:
        """So many *calls* have begun and ended without a record, and are counted."""
        change = self._change.workers.get(worker.name)
        if change is None:
            change = self._change.workers[worker.name] = WorkerState()
        change.finished += calls
        worker.has_news = True

    def close(self, worker: WorkerDrain, aborted: int) -> None:
        """
        *worker* is dead and drained, and so many of its calls were open.

        What it began and nothing tells the end of is lost; nothing stays in flight. Only a fork
        that ran no hook, or damage, leaves such calls: records overwritten or refused. Copies that
        count calls twice are counted as begun, too.
        """
        self._note(worker)
        known = self._ledger.state.workers.get(worker.name) or WorkerState()
        last = self._change.workers.get(worker.name) or _unchanged(known)
        missing = last.begun - known.finished - last.finished - last.lost - aborted
        if missing:
            last.begun += max(0, -missing)
            last.lost += max(0, missing)
            cause = {"spoilt_records": abs(missing)}
            last.losses = last.losses | cause if missing > 0 else last.losses
            last.faults = last.faults | cause
            self._change.workers[worker.name] = last
        self._change.buried.append(worker.name)  # point: intake-buried

    def lose(self, name: str) -> None:
        """A dead worker whose memory is gone or damaged: what was not read of it is lost."""
        known = self._ledger.state.workers.get(name)
        if known is not None:
            missing = max(0, known.begun - known.finished - known.lost)
            last = self._change.workers[name] = _unchanged(known)
            last.lost += missing
            last.losses = known.losses | {"segment_gone": missing}
        self._change.buried.append(name)  # point: bury-unread

    def lose_unwritten(self, calls: int) -> None:
        """So many *calls* a former collector knew, and could not write down before it ended."""
        name = "unwritten"
        self._change.workers[name] = WorkerState(begun=calls, lost=calls, losses={name: calls})
        self._change.buried.append(name)
        self._change.removed.append(name)

    def _note_nameless(self, worker: WorkerDrain) -> None:
        if worker.beyond is None:
            return
        tool, first = worker.beyond.tool, worker.beyond.first
        known = self._change.nameless.get(tool) or self._ledger.state.nameless.get(tool, [])
        shown = list(dict.fromkeys([*known, *first]))[:MOST_SHOWN]
        if shown != known:
            self._change.nameless[tool] = shown

    def _note(self, worker: WorkerDrain) -> None:
        """Note how far *worker* is read, if that has changed."""
        known = self._ledger.state.workers.get(worker.name)
        now = _read_of(worker, is_new=known is None)
        change = self._change.workers.get(worker.name)
        if change is not None:
            now.finished = change.finished
        elif known is not None and _same(known, now):
            return
        if known is not None:
            now.positions = _news(now.positions, known.positions)
            now.ended = worker.rows.newly_ended
            now.sampled_out = _news(now.sampled_out, known.sampled_out)
        worker.new_callees = {}
        worker.rows.newly_ended = {}
        self._change.workers[worker.name] = now


def _read_of(worker: WorkerDrain, *, is_new: bool) -> WorkerState:
    return WorkerState(
        pid=worker.pid,
        epoch=worker.epoch,
        begun=worker.begun,
        lost=worker.lost,
        losses=worker.losses(),
        faults=worker.faults(),
        positions=worker.positions(),
        ended=dict(worker.rows.ended) if is_new else {},
        callees=worker.new_callees,
        sampled_out=dict(worker.left_out.taken),
    )


def _unchanged(known: WorkerState) -> WorkerState:
    """The change that leaves *known* as it is."""
    return msgspec.structs.replace(
        known, finished=0, positions={}, ended={}, callees={}, sampled_out={}
    )


def _same(known: WorkerState, now: WorkerState) -> bool:
    counters = (known.begun, known.lost, known.losses, known.faults)
    if counters != (now.begun, now.lost, now.losses, now.faults) or now.callees:
        return False
    if _news(now.sampled_out, known.sampled_out):
        return False
    return not _news(now.positions, known.positions)


def _news(now: dict[int, int], known: dict[int, int]) -> dict[int, int]:
    return {key: value for key, value in now.items() if known.get(key) != value}
