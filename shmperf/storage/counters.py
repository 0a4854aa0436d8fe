"""
The counters of workers, living and buried, and what cleanups have taken out of their sums.

Workers count what has begun, what was lost and their faults themselves, and never begin anew: a
cleanup remembers what had been counted by then, and the rest is shown.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

import msgspec

from shmperf.shm.record import Callee

__all__ = [
    "Begun",
    "Counters",
    "Forgotten",
    "WorkerState",
    "bury",
    "change_worker",
    "count_up",
    "forget",
]


class WorkerState(msgspec.Struct, array_like=True):
    """
    One worker as last read: how far it is drained, and its own counters.

    ``sampled_out`` maps the place of such a counter to what is taken of it: these calls are among
    those that have begun, and finished.
    """

    pid: int = 0
    epoch: int = 0
    finished: int = 0
    begun: int = 0
    lost: int = 0
    losses: dict[str, int] = {}
    faults: dict[str, int] = {}
    positions: dict[int, int] = {}
    ended: dict[int, int] = {}
    callees: dict[int, Callee] = {}
    sampled_out: dict[int, int] = {}


class Forgotten(msgspec.Struct, array_like=True):
    """What cleanups have taken out of the books."""

    begun: int = 0
    lost: int = 0
    losses: dict[str, int] = {}
    faults: dict[str, int] = {}


class Begun(NamedTuple):
    """How many calls have begun, cleaned up or not: of workers that have gone, and of each."""

    gone: int
    by_worker: Mapping[str, int]

    def beside(self, others: Container[str]) -> int:
        """Those of all but these *others*."""
        return self.gone + sum(n for name, n in self.by_worker.items() if name not in others)


class Counters(msgspec.Struct):
    """Sums since the last cleanup."""

    begun: int
    lost: int
    losses: dict[str, int]
    faults: dict[str, int]


def change_worker(workers: dict[str, WorkerState], name: str, change: WorkerState) -> None:
    """Take up a reading of one worker; it shares nothing with *change* afterwards."""
    known = workers.get(name)
    if known is None:
        workers[name] = msgspec.structs.replace(
            change,
            positions=dict(change.positions),
            ended=dict(change.ended),
            callees=dict(change.callees),
            sampled_out=dict(change.sampled_out),
        )
        return
    known.finished += change.finished
    known.begun, known.lost = change.begun, change.lost
    known.losses, known.faults = change.losses, change.faults
    known.positions.update(change.positions)
    known.ended.update(change.ended)
    known.callees.update(change.callees)
    known.sampled_out.update(change.sampled_out)


def bury(gone: WorkerState, worker: WorkerState) -> None:
    """Add what a dead worker has counted to those that have *gone* before."""
    gone.finished += worker.finished
    gone.begun += worker.begun
    gone.lost += worker.lost
    gone.losses = _sum([gone.losses, worker.losses])
    gone.faults = _sum([gone.faults, worker.faults])


def count_up(
    workers: Iterable[WorkerState], faults: Mapping[str, int], forgotten: Forgotten
) -> Counters:
    """The sums of *workers*, and of the collector's own *faults*, without what is *forgotten*."""
    everybody = list(workers)
    losses = _sum(w.losses for w in everybody)
    all_faults = _sum([*(w.faults for w in everybody), faults])
    return Counters(
        begun=sum(w.begun for w in everybody) - forgotten.begun,
        lost=sum(w.lost for w in everybody) - forgotten.lost,
        losses=_minus(losses, forgotten.losses),
        faults=_minus(all_faults, forgotten.faults),
    )


def forget(forgotten: Forgotten, shown: Counters, ended: int) -> None:
    """Take out what is *shown*, but for calls that are in flight: *ended* calls, and lost ones."""
    forgotten.begun += ended + shown.lost
    forgotten.lost += shown.lost
    forgotten.losses = _sum([forgotten.losses, shown.losses])
    forgotten.faults = _sum([forgotten.faults, shown.faults])


def _sum(counters: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for counter in counters:
        for cause, count in counter.items():
            found[cause] = found.get(cause, 0) + count
    return found


def _minus(counters: Mapping[str, int], forgotten: Mapping[str, int]) -> dict[str, int]:
    left = {cause: count - forgotten.get(cause, 0) for cause, count in counters.items()}
    return {cause: count for cause, count in left.items() if count > 0}
