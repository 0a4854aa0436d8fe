"""
Workers that grow: each sample of their memory is taken in, and one alert tells of all that grow.

    a sample of each worker ──► medians of windows ──► grows steadily? ──► memory, of the fastest
                                                  └──► has stopped, or is gone ──► over

Samples are not journalled, the open alert is: by the slope in its evidence a restarted collector
knows what would be calm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shmperf.analysis.alerts import Alert, Alerts, Key
from shmperf.analysis.alerttext import memory_said
from shmperf.analysis.growth import Grown, Growth
from shmperf.session.messages import WorkerStatus
from shmperf.storage.state import Ledger

from .wallclock import WallClock

__all__ = ["Growing"]

_KEY: Key = ("memory", None)
_MIB = 1 << 20


class Growing:
    """The collector's thread: `note` with each sample, `look` once a second."""

    def __init__(self, ledger: Ledger, wall: WallClock) -> None:
        self._ledger = ledger
        self._wall = wall
        self._workers: dict[int, Growth] = {}

    def note(self, rows: Iterable[WorkerStatus]) -> None:
        """Take in a sample of all workers; what alerts it makes goes into the next frame."""
        anomaly = self._ledger.options.anomaly
        if not anomaly.enabled:
            self._workers = {}
            return
        at_s, former = self._wall.monotonic_ns() / 1e9, self._workers
        self._workers = {}
        for row in rows:
            if row.memory_bytes is not None:
                growth = self._workers[row.pid] = former.get(row.pid) or Growth()
                growth.add(at_s, row.memory_bytes, anomaly.interval_seconds)
        self._tell()

    def look(self, pids: Callable[[], list[int]]) -> None:
        """What is told is over when none of *pids*, of all workers there are, is one of those."""
        alerts = self._ledger.analyses.of(Alerts)
        told = alerts.open.get(_KEY)
        if told is not None and not set(_evidence(told)[1]).intersection(pids()):
            alerts.end(_KEY, self._wall.now_ns() / 1e9, {"reason": "the worker is gone"})

    def _tell(self) -> None:
        alerts, now_s = self._ledger.analyses.of(Alerts), self._wall.now_ns() / 1e9
        told = alerts.open.get(_KEY)
        if told is not None:
            self._look_for_end(alerts, told, now_s)
            return
        grown = {pid: found for pid, one in self._workers.items() if (found := one.grown())}
        if grown:
            pid = max(grown, key=lambda one: grown[one].slope)
            self._begin(alerts, pid, grown[pid], sorted(grown), now_s)

    @staticmethod
    def _begin(alerts: Alerts, pid: int, grown: Grown, pids: list[int], now_s: float) -> None:
        said = memory_said(pid, grown, pids)
        alerts.begin(_KEY, said.severity, now_s - grown.length_s, said.text, said.evidence)

    def _look_for_end(self, alerts: Alerts, told: Alert, now_s: float) -> None:
        """Over when none of those grows that are left; what grows by then begins another."""
        slope, pids = _evidence(told)
        left = [pid for pid in pids if pid in self._workers]
        if left and all(self._workers[pid].has_stopped(slope) for pid in left):
            alerts.end(_KEY, now_s, {"reason": "it grows no more"})


def _evidence(told: Alert) -> tuple[float, list[int]]:
    """The slope in bytes a second, and who grew; of what comes from a journal anything may come."""
    mib_an_hour, pids = told.evidence.get("mib_an_hour"), told.evidence.get("pids")
    slope = mib_an_hour * _MIB / 3_600 if isinstance(mib_an_hour, float) else 0.0
    listed = pids if isinstance(pids, list) else []
    return slope, [pid for pid in listed if isinstance(pid, int)]
