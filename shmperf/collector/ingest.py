"""
From drained slots to their meaning: what a batch of records changes.

Counts, trees and positions take every record; of kept calls only the newest within the limit of
their tool are ever decoded, so cost follows the limits and not the traffic. A call recorded in
detail is held back until it has settled: its line names its children.

Slots come from other processes. A record whose id belongs to no row of its worker is refused and
counted, and a body that can't be read leaves its call without parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

import msgspec

from shmperf.analysis.anomaly import Finding, Usual
from shmperf.analysis.calltree import NOBODY, Below, CallTree, Settled
from shmperf.analysis.extremes import Extremes
from shmperf.analysis.lately import Columns, Lately
from shmperf.analysis.optimization import Optimization, sighting_of
from shmperf.config.options import Options, Watch
from shmperf.shm.inflight import OpenRow, block_of
from shmperf.shm.record import (
    BESIDE,
    BLOCK,
    DETAIL,
    FAILURES,
    STATUS_BITS,
    Call,
    Detail,
    Outcome,
    Slot,
    kind_bits,
    status_of,
)
from shmperf.shm.remote import is_remote
from shmperf.shm.ring import Batch
from shmperf.storage.state import Ledger

from .bodies import Bodies, blob_name
from .candidates import Candidates
from .counting import Counting
from .dating import Dating
from .drain import Portion, WorkerDrain
from .failed import Failed
from .keeping import Kept, kept_of
from .released import Released
from .settling import Settling
from .tracing import Tracing
from .wallclock import LATEST_NS, WallClock

__all__ = ["Drained", "Ingest"]

_BLOCK, _DETAIL = kind_bits(BLOCK), kind_bits(DETAIL)


class _Live(NamedTuple):
    """The analyses that each batch goes to, asked for once a pass: a restart exchanges them."""

    extremes: Extremes
    tree: CallTree


class Drained(msgspec.Struct):
    """What a frame says of records."""

    kept: dict[str, list[Call]] = {}
    settled: list[tuple[int, list[int], dict[str, tuple[int, int]], int]] = []


class Ingest:
    """Collects what records mean, one change after the other; the collector's thread."""

    def __init__(
        self,
        ledger: Ledger,
        counting: Counting,
        bodies: Bodies,
        settling: Settling,
        wall: WallClock,
        fault: Callable[[str, str, int], None],
    ) -> None:
        """*fault* counts and tells what went wrong, by cause."""
        # So many records, in so many batches.
        self.records = self.batches = 0
        self.blobs: list[str] = []
        self._change = Drained()
        self._ledger = ledger
        self._counting = counting
        self._accounts = counting.accounts
        self._bodies = bodies
        self._settling = settling
        self._wall = wall
        self._fault = fault
        # Whoever begins a run of the optimization cycle says so: `dating.in_run`.
        self.dating = Dating(ledger, wall)
        self._failed = Failed(ledger, bodies, wall)
        self._released = Released(ledger, bodies)
        self._lately = Lately()
        self._tracing = Tracing(self._lately, fault)
        self._candidates = Candidates(ledger, settling, wall, self._lately)
        self._kept: dict[str, Kept] = {}
        self._in_detail = False
        self._passed: list[WorkerDrain] = []
        self._usual: Usual | None = None
        self.configure(ledger.options)

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.limit_of = options.limit_of

    def watch(self, watch: Watch | None) -> None:
        """Look at durations from now on as *watch* says; None for not at all."""
        if watch != (None if self._usual is None else self._usual.watch):
            self._usual = None if watch is None else Usual(watch)

    # --- records ---------------------------------------------------------------------------------

    def drain(self, worker: WorkerDrain, *, thoroughly: bool = False) -> int:
        """A pass over *worker*, unless it is quiet; `passes_done` settles its trees behind it."""
        self._counting.count_out(worker)
        if worker.is_quiet() and not thoroughly:
            return 0
        try:
            handled = worker.run_pass(self.take)
            if not worker.is_in_pass:
                self._passed.append(worker)
            worker.read_rows(everywhere=thoroughly)
        except Exception as error:  # noqa: BLE001  one worker's damage is not another's
            worker.problem = f"{type(error).__name__}: {error}"
            self._fault("drain", f"{worker.name}: {worker.problem}", 1)
            return 0
        worker.problem = ""
        self.records += handled
        return handled

    def take(self, worker: WorkerDrain, portions: list[Portion]) -> None:
        """Account for what a pass over *worker* has found; all at once what needs no tool."""
        self._candidates.begin()
        self.batches += len(portions)
        ledger, taken, batches = self._ledger, Columns(), list[Batch]()
        live = _Live(ledger.extremes, ledger.tree)
        is_waited_for = self._released.is_waiting
        are_known = all(batch.blocks() <= worker.blocks for _, batch, _ in portions)
        for tool, found, seen in portions:
            batch = found
            if not are_known or seen & STATUS_BITS == STATUS_BITS:
                batch = self._admitted(worker, found, seen)
            if batch:
                parent = self._take(worker, tool, batch, seen, live)
                if is_waited_for:
                    self._released.look(worker, batch)
                columns = (batch.ids, batch.parents, batch.starts, batch.ends)
                taken.add(tool, columns, are_nested=parent > 0)
                batches.append(batch)
        if batches:
            self._lately.add(taken)
            self._accounts.add(worker, batches)  # point: intake-ended

    def _admitted(self, worker: WorkerDrain, batch: Batch, seen: int) -> Batch:
        """*batch* without what is no call of this worker."""
        if not batch.blocks() <= worker.blocks:
            batch = self._known(worker, batch)
        if seen & STATUS_BITS == STATUS_BITS and batch:
            batch = self._calls_of(worker, batch)
        return batch

    def _take(self, worker: WorkerDrain, tool: str, batch: Batch, seen: int, live: _Live) -> int:
        """Account for a *batch* of one tool; its greatest parent."""
        least, longest, first, last, parent, errors = batch.spread()
        if seen & STATUS_BITS:
            self._failed.look(worker, tool, batch)
        if self._usual is not None:
            self._compare(self._usual, worker, tool, batch)
        if self.dating.begin_ns <= first and last < self.dating.end_ns:
            self._counting.count(tool, batch, seen, errors, last)
        else:
            self._count_by_interval(tool, batch, seen, errors)
        if live.extremes.marks:
            live.extremes.add(tool, least, longest)
        parents = self._tracing.calls_alone(worker, batch.parents, parent)
        live.tree.add(worker.name, tool, (batch.ids, parents, batch.starts, batch.ends))
        limit = self.limit_of(tool)
        if self.dating.in_run and seen & _DETAIL:
            self._sight(worker, batch)
        if limit:
            if self._candidates.are_in(tool, longest, seen):
                self._candidates.note(worker, tool, batch)
            self._keep(worker, tool, batch, limit)  # point: intake-keep
        self._in_detail = self._in_detail or bool(seen & _DETAIL)
        if seen & _BLOCK:
            named = [blob_name(slot) for slot in batch]
            self.blobs += [name for name in named if name.startswith(f"{worker.name}.")]
        return parent

    def _count_by_interval(self, tool: str, batch: Batch, seen: int, errors: int) -> None:
        """Count calls that did not all end in the present interval."""
        metas, ends = batch.metas, batch.ends
        parts = self.dating.parts_of(ends)
        for part, indices in parts.items():
            self._ledger.totals.turn(part)
            if len(parts) == 1:
                self._counting.count(tool, batch, seen, errors, ends[-1])
                break
            durations = batch.durations()
            own = [metas[index] for index in indices]
            errors = sum(meta & STATUS_BITS in FAILURES for meta in own)
            found = [durations[index] for index in indices], own, seen
            self._counting.count_some(tool, found, errors, ends[indices[-1]])
        self.dating.turn_back()

    def _compare(self, usual: Usual, worker: WorkerDrain, tool: str, batch: Batch) -> None:
        durations = batch.durations()
        for index, low_ns, high_ns, samples, untold in usual.look(tool, durations, batch.ends):
            self._ledger.unusual.add(
                Finding(
                    tool,
                    batch.ids[index],
                    worker.pid,
                    self._wall.of(batch.ends[index]),
                    durations[index],
                    low_ns,
                    high_ns,
                    samples,
                    untold,
                )
            )

    def _sight(self, worker: WorkerDrain, batch: Batch) -> None:
        """Note what a run wants to know of calls in detail, kept or not."""
        optimization = self._ledger.analyses.of(Optimization)
        for index, meta in enumerate(batch.metas):
            if not optimization.wants_more:
                return
            if meta & _DETAIL:
                call = self._bodies.call_in(batch.at(index), worker, quietly=True)
                call.start_ns = self._wall.of(call.start_ns)
                call.parent = 0 if is_remote(call.parent) else call.parent
                is_failed = meta & STATUS_BITS in FAILURES
                optimization.add(sighting_of(call, optimization.marks.key), int(is_failed))

    def abort(self, worker: WorkerDrain, row: OpenRow, below: Below = NOBODY) -> None:
        """A call that was open when its worker died; *below* it were these calls."""
        tool = worker.callee(row.callee).tool
        self._released.abort(row.id)
        self._ledger.totals.of(tool).aborted += 1
        if self.dating.in_run and row.in_detail:
            self._ledger.analyses.of(Optimization).add_aborted(tool)
        call = Call(
            tool=tool,
            id=row.id,
            pid=worker.pid,
            parent=worker.rows.parents.get(row.id, row.parent),
            start_ns=self._wall.of(row.start_ns),
            duration_ns=None,
            status=Outcome.ABORTED,
            params="{}",
            detail=Detail(children=below.ids, totals=below.totals) if row.in_detail else None,
        )
        self._failed.add_aborted(call)
        if self.limit_of(tool):
            self._change.kept.setdefault(tool, []).append(call)  # point: intake-abort

    def passes_done(self) -> None:
        """
        Every ring of those drained since the last time was looked at: settle what that settles.

        Only when all others have been drained as well, those too who have just come: a child in
        another process had ended, and was there to be read, before its parent had.
        """
        passed, self._passed = self._passed, []
        for worker in passed:
            try:
                self._settle(self._ledger.tree.pass_done(worker.name, self._wanted()))
                self._settling.pass_done(worker.name)
            except Exception as error:  # noqa: BLE001  one worker's damage is not another's
                self._fault("drain", f"{worker.name}: {type(error).__name__}: {error}", 1)

    def bury(self, worker: WorkerDrain) -> None:
        """*worker* is dead and drained: its open calls are aborted, all others settled."""
        self._settle(self._ledger.tree.worker_gone(worker.name, self._wanted()))
        worker.read_rows(everywhere=True)
        self._counting.count_out(worker)
        opened = list(worker.rows.open.values())
        tree = self._ledger.tree
        below = {row.id: tree.below(row.id) for row in opened if row.in_detail}
        tree.add_aborted({row.id: worker.callee(row.callee).tool for row in opened})
        for row in opened:
            self.abort(worker, row, below.get(row.id, NOBODY))
        self._tracing.bury(worker)
        self._accounts.close(worker, len(opened))

    # --- changes ---------------------------------------------------------------------------------

    def take_change(self, workers: Sequence[WorkerDrain]) -> Drained:
        """What was noted so far, of *workers*, all of them; begins anew."""
        candidates = self._candidates.take(self._decode)
        bodies, wall = self._bodies, self._wall
        times = (wall.offset_ns, LATEST_NS)
        for tool, kept in self._kept.items():
            calls = kept.take(candidates, self._decode, bodies.template_of, bodies.needles, *times)
            self._change.kept.setdefault(tool, []).extend(calls)
        self._kept.clear()
        kept_now = [call for kept_of_tool in self._change.kept.values() for call in kept_of_tool]
        self._tracing.name([*kept_now, *candidates.values()], workers)
        self._candidates.tell(candidates)
        change, self._change = self._change, Drained()  # point: intake-frame
        if change.settled:
            # Only those matter whose lines are still to be written.
            waiting = [*self._ledger.state.kept.values(), *change.kept.values()]
            ids = {call.id for calls in waiting for call in calls if call.detail is not None}
            change.settled = [row for row in change.settled if row[0] in ids]
        return change

    def _known(self, worker: WorkerDrain, batch: Batch) -> Batch:
        worker.look()
        known = [slot for slot in batch if block_of(slot[0]) in worker.blocks]
        if len(known) < len(batch):
            self._fault(
                "record_refused",
                f"{worker.name}: found ids of no row of its own",
                len(batch) - len(known),
            )
        return Batch.of(known)

    def _calls_of(self, worker: WorkerDrain, batch: Batch) -> Batch:
        """*batch* without slots that stand beside a call: nothing of this version writes any."""
        calls = [slot for slot in batch if status_of(slot[4]) != BESIDE or slot[2] or slot[3]]
        if len(calls) < len(batch):
            missing = len(batch) - len(calls)
            self._fault("record_refused", f"{worker.name}: found slots of an unknown kind", missing)
        return Batch.of(calls)

    def _keep(self, worker: WorkerDrain, tool: str, batch: Batch, limit: int) -> None:
        kept = self._kept.get(tool)
        if kept is None:
            kept = self._kept[tool] = kept_of(limit)
        kept.add(batch, worker, self._settling.passes(worker.name))

    def _wanted(self) -> Container[int] | None:
        """The calls of which somebody needs to know that they have settled; None for all."""
        return None if self._in_detail else self._ledger.exemplars.waiting

    def _settle(self, settled: list[Settled]) -> None:
        tree = self._ledger.tree
        if tree.covered:
            self.dating.cover(tree.covered)
            tree.covered = []
        if self._in_detail:
            self._change.settled += [(s.id, s.children, s.totals, s.self_ns) for s in settled]
        self._candidates.settle(settled)

    # --- calls -----------------------------------------------------------------------------------

    def _decode(self, slot: Slot, worker: WorkerDrain, done: int) -> Call:
        """The call in *slot*, drained when *worker* had been looked at *done* times."""
        call = self._bodies.call_in(slot, worker)
        call.start_ns = self._wall.of(call.start_ns)
        if call.detail is not None:
            self._settling.add(call.id, worker.name, done)
        return call
