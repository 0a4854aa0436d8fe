"""
Collects what a fleet publishes into a directory or a bucket; any number of these share the work.

    leases ──► partitions that are ours ──► each: take, store (see `holding`) ──► compaction, sweep

One thread does the work, one keeps the leases. What goes wrong with a partition is told once, and
tried again after a pause, for as long as it takes; who is to end when nothing waits ends with it,
when all else is done. What was taken and not stored is held, within bounds, and beyond that left in
the stream. Ended, it stores what it has taken, and lets others go on at once; killed, others go on
five seconds later, and lose nothing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from shmperf.errors import ShmperfError, StoreError
from shmperf.exporters.posting import Pause

from .compaction import GRACE_S, Compaction, Sweep
from .datasets import Writer
from .engine import Engine, EngineError, Stale
from .holding import Holding, Means
from .leases import LEASE_S, Keeper, Leases
from .manifest import Manifests, manifest_names, refuse_others
from .objects import Objects
from .wire import partition_name

__all__ = ["Collector", "Terms"]

# Of all partitions together, in memory and not stored.
_MOST_BYTES = 128 << 20
_IDLE_S = 0.2
# So many failures in a row are a fault that lasts, for who is to end: half a minute of pauses.
_LASTING = 6


class Terms(NamedTuple):
    """How to collect: in which form, and how long lines wait for others at most."""

    form: str = "parquet"
    every_s: float = 10.0
    grace_s: float = GRACE_S
    least_merged: int = 8
    lease_s: float = LEASE_S


class Collector:
    """Collects from one stream into one place; `run` by one thread."""

    def __init__(
        self,
        engine: Engine,
        stream: str,
        objects: Objects,
        terms: Terms,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Makes the stream if it is not there; raises EngineError and StoreError.

        The latter where another stream is collected into that place already, too.
        """
        partitions = engine.open().partitions
        refuse_others(objects, manifest_names(objects), stream)
        identity = objects.identity()
        self.stored = 0
        self._terms, self._say, self._clock = terms, say, clock
        self.leases = Leases(engine, identity, partitions, clock, terms.lease_s)
        self._keeper = Keeper(self.leases, clock)
        writer = Writer(terms.form)
        self._means = Means(
            engine,
            stream,
            partitions,
            objects,
            Manifests(engine, objects),
            writer,
            clock,
            say,
            self.leases.raise_epoch,
        )
        self._sweep = Sweep(objects, stream, clock, terms.grace_s)
        self._compaction = Compaction(objects, writer, self._sweep, terms.least_merged)
        self._holdings: dict[int, Holding] = {}
        self._pauses: dict[str, Pause] = {}
        self._problems: dict[str, str] = {}
        # How often in a row the place, or what lies in it, was at fault.
        self._failed: Counter[str] = Counter()

    def run(self, ended: threading.Event, *, until_empty: bool = False) -> None:
        """
        Collect until *ended*, or until nothing waits that nobody else has.

        StoreError where in the latter case a partition fails and fails: when all others are done.
        """
        self._keeper.start()
        try:
            while not ended.is_set():
                is_busy = self.step()
                if until_empty and not is_busy and self._is_all_done():
                    break
                if not is_busy:
                    ended.wait(_IDLE_S)
            self._store_all()
            lasting = [one for one in self._holdings if self._has_failed(one)]
            if until_empty and lasting:
                name = partition_name(lasting[0])
                raise StoreError(f"{name}: {self._problems[name]}")
        finally:
            self._keeper.close()
            self._means.writer.close()

    def step(self) -> bool:
        """Take and store once for each partition; True when there was something."""
        self._keeper.sign()
        self._tell("leases", self._keeper.problem)
        self._follow_leases()
        is_busy = False
        for partition, holding in list(self._holdings.items()):
            if self._pause(partition_name(partition)).is_over:
                is_busy |= self._tried(partition, partial(self._work, holding))
        if self._waiting_bytes() > _MOST_BYTES:
            largest = max(self._holdings.values(), key=lambda one: one.size_bytes)
            self._tried(largest.partition, partial(self._store, largest))
        if not is_busy:
            is_busy = self._tidy()
        return is_busy

    def _follow_leases(self) -> None:
        held = self.leases.held()
        for partition in [one for one in self._holdings if one not in held]:
            # What it had taken and not stored, the next holder takes again.
            del self._holdings[partition]
        for partition, epoch in held.items():
            holding = self._holdings.get(partition)
            if holding is None or holding.epoch < epoch:
                self._holdings[partition] = Holding(self._means, partition, epoch)

    def _work(self, holding: Holding) -> bool:
        """One step with a partition; True when there was something to do."""
        if not holding.is_claimed:
            holding.claim()
        came = self._waiting_bytes() < _MOST_BYTES and holding.take()
        if holding.is_due(self._terms.every_s):
            self._store(holding)
            return True
        return came

    def _store(self, holding: Holding) -> bool:
        self.stored += holding.store()
        return True

    def _tidy(self) -> bool:
        """Merge what may be, a group at a time; delete what has been read for the last time."""
        for partition, holding in list(self._holdings.items()):
            name = f"{partition_name(partition)}, merging"
            if not holding.is_claimed or not self._pause(name).is_over:
                continue
            if self._tried(partition, partial(self._compaction.step, holding), name):
                return True
        try:
            self._sweep.step(list(self._holdings.values()))
            self._tell("sweep", "")
        except ShmperfError as error:
            self._tell("sweep", str(error))
        return False

    def _tried(self, partition: int, work: Callable[[], bool], name: str = "") -> bool:
        """What *work* gives; False when it failed, which is told, and makes a pause."""
        name = name or partition_name(partition)
        try:
            found = work()
        except Stale:
            # It is another one's, or we take it over from ourselves.
            self._holdings.pop(partition, None)
            self._failed.pop(name, None)
            self._pause(name).begin()
            return False
        except ShmperfError as error:
            if self._pause(name).is_over and not isinstance(error, EngineError):
                self._failed[name] += 1
            self._pause(name).begin()
            self._tell(name, str(error))
            return False
        self._failed.pop(name, None)
        self._pause(name).end()
        self._tell(name, "")
        return found

    def _pause(self, name: str) -> Pause:
        return self._pauses.setdefault(name, Pause(self._clock))

    def _waiting_bytes(self) -> int:
        return sum(one.size_bytes for one in self._holdings.values())

    def _is_all_done(self) -> bool:
        """Each partition is ours and empty, or fails for ever, or another one's who lives."""
        return (
            self.leases.is_covered()
            and self.leases.held().keys() == self._holdings.keys()
            and all(
                self._has_failed(partition)
                or (one.is_claimed and not one.has_some and self._is_empty(one))
                for partition, one in self._holdings.items()
            )
        )

    def _has_failed(self, partition: int) -> bool:
        return self._failed[partition_name(partition)] >= _LASTING

    def _is_empty(self, holding: Holding) -> bool:
        try:
            return holding.is_empty()
        except EngineError:
            return False

    def _store_all(self) -> None:
        for partition, holding in list(self._holdings.items()):
            if holding.is_claimed and holding.has_some and holding.is_due(0.0):
                self._tried(partition, partial(self._store, holding))

    def _tell(self, what: str, problem: str) -> None:
        """Say a problem once, and once that it is over."""
        known = self._problems.get(what, "")
        if problem and problem != known:
            self._say(f"{what}: {problem}")
        elif known and not problem:
            self._say(f"{what}: goes on")
        self._problems[what] = problem
