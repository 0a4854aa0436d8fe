"""
Which drained calls may be exemplars: those slower than their tool's tenth slowest, and failed ones.

A batch is compared by its durations, which are there already. Only candidates are copied out of
their ring, and only those left at the next frame are decoded. What lies below a candidate is
gathered when the tree says that it has settled: a call without children costs nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest

from shmperf.analysis.branches import below
from shmperf.analysis.calltree import Settled
from shmperf.analysis.exemplars import MOST, MOST_BELOW, Exemplars, Subtree
from shmperf.analysis.lately import Columns, Lately
from shmperf.analysis.limits import Newest
from shmperf.shm.record import FAILURES, STATUS_BITS, Call, Slot
from shmperf.shm.ring import Batch
from shmperf.storage.state import Ledger

from .drain import WorkerDrain
from .keeping import Decode
from .settling import Settling
from .wallclock import WallClock

__all__ = ["Candidates"]


# Duration or end, id, slot, worker, and how often the worker had been looked at by then.
_Raw = tuple[int, int, Slot, WorkerDrain, int]


class _OfTool:
    """One tool's candidates since the last frame."""

    __slots__ = ("failed", "slow")

    def __init__(self) -> None:
        self.slow: Newest[_Raw] = Newest(MOST)
        self.failed: Newest[_Raw] = Newest(MOST)


class Candidates:
    """Candidates since the last frame, and what settled of exemplars; the collector's thread."""

    def __init__(self, ledger: Ledger, settling: Settling, wall: WallClock, lately: Lately) -> None:
        self._ledger = ledger
        self._settling = settling
        self._lately = lately
        self._wall = wall
        self._tools: dict[str, _OfTool] = {}
        self._settled: list[Settled] = []
        self._noted: set[int] = set()
        self._known: Exemplars | None = None
        self._floors: dict[str, int] = {}

    def begin(self) -> None:
        """Before a pass is accounted for: take up what a former collector has left, once."""
        exemplars = self._ledger.exemplars
        if exemplars is not self._known:
            self._take_up(exemplars)
        # A cleanup exchanges them.
        self._floors = exemplars.floors

    def are_in(self, tool: str, longest_ns: int, seen: int) -> bool:
        """
        True when a batch of *tool* has candidates.

        *longest_ns* is its longest duration, *seen* the union of its meta words.
        """
        return longest_ns > self._floors.get(tool, -1) or bool(seen & STATUS_BITS)

    def note(self, worker: WorkerDrain, tool: str, batch: Batch) -> None:
        """Note the candidates of *batch*."""
        durations = batch.durations()
        found = self._tools.get(tool)
        if found is None:
            found = self._tools[tool] = _OfTool()
        slow = _greatest(durations, self._floors.get(tool, -1))
        found.slow.add([(durations[at], *self._raw(batch, at, worker)) for at in slow])
        failed = [at for at, meta in enumerate(batch.metas) if meta & STATUS_BITS in FAILURES]
        newest = failed[-MOST:]
        found.failed.add([(batch.ends[at], *self._raw(batch, at, worker)) for at in newest])

    def settle(self, settled: Iterable[Settled]) -> None:
        """Note what has settled of exemplars and candidates."""
        waiting = self._ledger.exemplars.waiting
        self._settled += [one for one in settled if one.id in waiting]

    def take(self, decode: Decode) -> dict[int, Call]:
        """The candidates that are left, by id: decoded, to be handed to `tell`; begins anew."""
        raw = {
            one[1]: one
            for found in self._tools.values()
            for kept in (found.slow, found.failed)
            for one in kept.take()
        }
        self._tools.clear()
        return {i: decode(slot, worker, done) for i, (_, _, slot, worker, done) in raw.items()}

    def tell(self, calls: dict[int, Call]) -> None:
        """Make *calls*, by id, exemplars where they are the worst, with what settled of them."""
        exemplars = self._ledger.exemplars
        for call in calls.values():
            exemplars.add(call)
        for one in self._settled:
            known = exemplars.known.get(one.id)
            settled = calls.get(one.id) if known is None else known.call
            if settled is not None:
                exemplars.settle(self._subtree(one, settled))
        exemplars.waiting -= self._noted - calls.keys()
        self._settled, self._noted = [], set()

    def _raw(
        self, batch: Batch, at: int, worker: WorkerDrain
    ) -> tuple[int, Slot, WorkerDrain, int]:
        call_id = batch.ids[at]
        self._noted.add(call_id)
        self._ledger.exemplars.waiting.add(call_id)
        return call_id, batch.at(at), worker, self._settling.passes(worker.name)

    def _subtree(self, settled: Settled, call: Call) -> Subtree:
        offset_ns = self._wall.offset_ns
        tree = below(self._lately, call.id, call.start_ns - offset_ns, MOST_BELOW)
        subtree = Subtree.of(call.id, tree, offset_ns)
        children = sum(count for count, _ in settled.totals.values())
        direct = sum(node.parent == call.id for node in tree.nodes)
        subtree.is_cut = subtree.is_cut or direct < children
        if call.detail is not None:
            subtree.children, subtree.totals = settled.children, settled.totals
            subtree.self_ns = settled.self_ns
        return subtree

    def _take_up(self, exemplars: Exemplars) -> None:
        """Of what a former collector has drained only this is known: children of open calls."""
        if self._known is None:
            known = Columns()
            for parent, (start, end, call_id, tool) in self._ledger.tree.children():
                known.add(tool, ([call_id], [parent], [start], [end]), are_nested=True)
            self._lately.add(known)
        self._known = exemplars
        last_ns = max((t.last_ended_ns for t in self._ledger.totals.known.values()), default=0)
        if last_ns:
            self._lately.horizon_ns = max(0, last_ns - self._wall.offset_ns)


def _greatest(durations: list[int], floor: int) -> list[int]:
    """The places of the `MOST` greatest above *floor*, in their order."""
    above = [at for at, duration in enumerate(durations) if duration > floor]
    if len(above) > MOST:
        above = nlargest(MOST, above, key=durations.__getitem__)
    return above
