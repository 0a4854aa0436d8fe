"""
Calls that were stuck and have ended: what their records say goes to the alerts that told of them.

    open, too old ──► an alert; its parameters are in the worker's own memory only
                        │
    its record is drained ──► parameters, outcome, duration ──► the alert's evidence and text
    its worker died ────────► outcome aborted

It is in the frame that says that the record was drained, so whoever is killed loses neither alone.

Why not ask for parameters while a call runs: a row of an open call is two stores of the worker's
hot path, and whatever stood there would be written with each call for the one that hangs.
"""

from __future__ import annotations

from shmperf.analysis.alerts import Alerts
from shmperf.analysis.alerttext import aborted_said, released_said
from shmperf.shm.ring import Batch
from shmperf.storage.state import Ledger

from .bodies import Bodies
from .drain import WorkerDrain

__all__ = ["Released"]


class Released:
    """Looks for ends that alerts wait for; the collector's thread."""

    def __init__(self, ledger: Ledger, bodies: Bodies) -> None:
        self._ledger = ledger
        self._bodies = bodies

    @property
    def is_waiting(self) -> bool:
        """True while a stuck call is told of."""
        return bool(self._alerts.awaited)

    @property
    def _alerts(self) -> Alerts:
        """A restart exchanges it."""
        return self._ledger.analyses.of(Alerts)

    def look(self, worker: WorkerDrain, batch: Batch) -> None:
        """Look for them in *batch*, which is of calls of *worker*."""
        awaited = self._alerts.awaited
        if awaited.keys().isdisjoint(batch.ids):
            return
        for index, call_id in enumerate(batch.ids):
            if call_id in awaited:
                call = self._bodies.call_in(batch.at(index), worker, quietly=True)
                self._alerts.amend(("stuck", awaited[call_id]), *released_said(call))

    def abort(self, call_id: int) -> None:
        """The process of that call died, and the call with it."""
        tool = self._alerts.awaited.get(call_id)
        if tool is not None:
            self._alerts.amend(("stuck", tool), *aborted_said())
