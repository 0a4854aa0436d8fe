"""
Which trace kept calls belong to: the root above each, and whose trace elsewhere that root is in.

A root that began under a context from elsewhere (see `shm.remote`), or in a process that has one of
its own, belongs to somebody else's trace, with all calls beneath it. What a context's id stands for
is looked up where it is written, in its worker's memory, when the first kept call asks; from then
on, and when its worker is buried, it is remembered here, bounded. A former collector's memory is
not needed: what was looked up once is still there.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from shmperf.analysis.lately import Lately
from shmperf.analysis.roots import Root, Roots
from shmperf.shm.inflight import block_of
from shmperf.shm.record import Call
from shmperf.shm.remote import FIRST_REMOTE, Remote, is_remote, remote_block
from shmperf.shm.ring import RingReader

from .drain import WorkerDrain

__all__ = ["Tracing"]

_MOST_KNOWN = 1 << 15
_MOST_BURIED = 1 << 12


class Tracing:
    """Names the traces of kept calls; the collector's thread."""

    def __init__(self, lately: Lately, fault: Callable[[str, str, int], None]) -> None:
        """By what was drained *lately*; *fault* counts what could not be found."""
        self._roots = Roots(lately)
        self._fault = fault
        self._is_used = False
        # By a context's id; None for one that is lost, and counted.
        self._known: dict[int, Remote | None] = {}
        # By block of rows: the own contexts of processes that are buried.
        self._buried: dict[int, Remote] = {}

    def calls_alone(
        self, worker: WorkerDrain, parents: Sequence[int], greatest: int
    ) -> Sequence[int]:
        """*parents* of calls of *worker*, the *greatest* among them, without what is no call."""
        self._is_used = self._is_used or worker.remotes.is_used
        if not self._is_used or greatest < FIRST_REMOTE:
            return parents
        return [0 if is_remote(parent) else parent for parent in parents]

    def name(self, calls: Iterable[Call], workers: Sequence[WorkerDrain]) -> None:
        """Name root and trace of *calls*, each open, or drained a moment ago, by *workers*."""
        calls = list(calls)
        pairs = [(call.id, call.parent) for call in calls if call.parent]
        givers = [worker for worker in workers if worker.remotes.is_used]
        own = self._buried | _own_by_block(givers)
        if not pairs and not own:
            return
        roots = self._roots_of(pairs, workers) if pairs else {}
        by_block = _by_block(givers)
        if any(
            is_remote(above) and remote_block(above) not in by_block for _, above in roots.values()
        ):
            # Written down by one that was found, and not looked at so far.
            for worker in workers:
                worker.look()
            by_block = _by_block([worker for worker in workers if worker.remotes.is_used])
        for call in calls:
            root, above = roots.get(call.id, (0 if call.parent else call.id, 0))
            remote = self._remote(above, by_block) if above else own.get(block_of(root))
            call.trace = 0 if root == call.id else root
            if is_remote(call.parent):
                call.parent = 0
            if remote is not None:
                is_root = root == call.id
                call.remote = remote.trace.hex() + (f"-{remote.span.hex()}" if is_root else "")

    def _roots_of(
        self, pairs: Sequence[tuple[int, int]], workers: Sequence[WorkerDrain]
    ) -> dict[int, Root]:
        opened = ChainMap(*(worker.rows.parents for worker in workers))
        roots = self._roots.of(pairs, opened.get)
        missing = [pair for pair in pairs if pair[0] not in roots]
        if missing:
            roots |= self._roots.of(missing, _Now(opened, workers).parent_of)
        return roots

    def bury(self, worker: WorkerDrain) -> None:
        """Remember what *worker*, which is dead, has written down: others may be beneath."""
        if not worker.remotes.is_used:
            return
        for context_id, remote in worker.remotes.all().items():
            self._remember(context_id, remote)
        self._buried |= _own_by_block([worker])
        while len(self._buried) > _MOST_BURIED:
            del self._buried[next(iter(self._buried))]

    def _remote(self, context_id: int, by_block: dict[int, WorkerDrain]) -> Remote | None:
        if context_id in self._known:
            return self._remember(context_id, self._known.pop(context_id))
        worker = by_block.get(remote_block(context_id))
        found = None if worker is None else worker.remotes.find(context_id)
        if found is None:
            self._fault("context_lost", f"no trace is known for {context_id:016x}", 1)
        return self._remember(context_id, found)

    def _remember(self, context_id: int, remote: Remote | None) -> Remote | None:
        self._known[context_id] = remote
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return remote


class _Now:
    """
    Parents of calls that the last look at their workers was too early or too late for.

    One that ended after its ring was read, and before its rows were, is neither open nor drained;
    nor is one of another process that began after that was looked at.
    """

    def __init__(self, opened: Mapping[int, int], workers: Sequence[WorkerDrain]) -> None:
        self._opened = opened
        self._by_block = _by_block(workers)
        self._parents: dict[str, dict[int, int]] = {}

    def parent_of(self, call_id: int) -> int | None:
        """What the call *call_id* began under; None where it is neither open nor just stored."""
        found = self._opened.get(call_id)
        worker = self._by_block.get(block_of(call_id)) if found is None else None
        if worker is None:
            return found
        if worker.name not in self._parents:
            self._parents[worker.name] = _parents_now(worker)
        return self._parents[worker.name].get(call_id)


def _parents_now(worker: WorkerDrain) -> dict[int, int]:
    """
    By id of each call of *worker* that is open, or stored and not read yet: what it began under.

    Nothing is read by it. Rows come first: whose call ends meanwhile has stored its record.
    """
    worker.look()
    found = worker.rows.parents_now()
    for lane in worker.lanes:
        found.update(_unread(lane.reader))
    return found


def _unread(reader: RingReader) -> Iterator[tuple[int, int]]:
    """Id and parent of each record that was stored since *reader* was here; it stays here."""
    read = 0
    while batch := reader.read():
        read += len(batch)
        for call_id, parent, start_ns, end_ns in zip(
            batch.ids, batch.parents, batch.starts, batch.ends, strict=True
        ):
            # A further part of a long one has neither times nor a parent.
            if start_ns or end_ns:
                yield call_id, parent
    reader.advance(-read)


def _by_block(workers: Iterable[WorkerDrain]) -> dict[int, WorkerDrain]:
    return {block: worker for worker in workers for block in worker.blocks}


def _own_by_block(workers: Iterable[WorkerDrain]) -> dict[int, Remote]:
    """The own context of each of *workers* that has one, by each of its blocks of rows."""
    found: dict[int, Remote] = {}
    for worker in workers:
        own = worker.remotes.own(worker.first_block)
        if own is not None:
            found |= dict.fromkeys(worker.blocks, own)
    return found
