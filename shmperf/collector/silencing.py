"""
Who has fallen silent: once an interval the collector looks who was called, and who was not.

    totals that changed ──► called ──► rhythms ──► too long silent? ──► still running  ──► wait
                                                                   ├──► its workers went ──► none
                                                                   ├──► with another ──► named there
                                                                   └──► else ──► alert

Of calls that ended: one that runs for long is no silence (see `stuck`), nor is a worker that has
gone. While somebody's memory can't be read yet, nobody can say who is silent.
"""

from __future__ import annotations

from collections.abc import Mapping

from shmperf.analysis.alerts import Alerts
from shmperf.analysis.alerttext import silence_said
from shmperf.analysis.silences import Silences, Silent, callers_first
from shmperf.analysis.totals import Totals
from shmperf.storage.state import Ledger

from .roster import Roster

__all__ = ["Silencing"]


class Silencing:
    """The collector's thread; `look` once an interval."""

    def __init__(self, ledger: Ledger, roster: Roster) -> None:
        self._ledger = ledger
        self._roster = roster
        self._counts: dict[str, int] = {}

    @property
    def silences(self) -> Silences:
        """What is known of rhythms; a restart exchanges it."""
        return self._ledger.analyses.of(Silences)

    def begin_anew(self, now_s: float) -> None:
        """Nobody has watched until now."""
        self.silences.resume(now_s)
        self._counts = {tool: one.count for tool, one in self._ledger.totals.known.items()}

    def look(self, changed: Mapping[str, Totals], now_s: float, interval_s: float) -> None:
        """Take in which totals have *changed* since the last look, and tell who is silent."""
        alerts, silences = self._ledger.analyses.of(Alerts), self.silences
        called = [tool for tool, one in changed.items() if one.count != self._counts.get(tool, 0)]
        self._counts |= {tool: changed[tool].count for tool in called}
        for tool in silences.add(called, now_s, interval_s):
            alerts.end(("silence", tool), now_s, {"reason": "called again"})
        if self._roster.is_anybody_waiting:
            return
        found, told = silences.silent(now_s, interval_s), silences.told()
        if found or told:
            present = self._tools_of_workers()
            for tool in told:
                if tool not in present:
                    silences.settle(tool, "away")
                    alerts.end(("silence", tool), now_s, {"reason": "no worker has it"})
            self._tell(alerts, self._suspects(found, present), now_s, interval_s)
        silences.release(now_s, interval_s)

    def _suspects(self, found: list[Silent], present: set[str]) -> list[Silent]:
        """Those of *found* that a worker has and none of them runs."""
        running = {worker.callee(row.callee).tool for worker, row in self._roster.open_calls()}
        for one in found:
            if one.tool not in present:
                self.silences.settle(one.tool, "away")
        return [one for one in found if one.tool in present and one.tool not in running]

    def _tell(self, alerts: Alerts, found: list[Silent], now_s: float, interval_s: float) -> None:
        if not found:
            return
        silences, suspects = self.silences, {one.tool for one in found}
        below = {
            edge.tool
            for edge in self._ledger.tree.graph({})
            if edge.parent in suspects and edge.parent != edge.tool
        }
        causes = silences.causes()
        for one in callers_first(found, below):
            cause = silences.cause(one.tool, causes, interval_s)
            silences.settle(one.tool, "explained" if cause else "told")
            if cause:
                alerts.explain("silence", cause, one.tool)
                continue
            said = silence_said(one, now_s)
            alerts.begin(
                ("silence", one.tool), said.severity, one.since_s, said.text, said.evidence
            )
            causes = silences.causes()

    def _tools_of_workers(self) -> set[str]:
        """The tools that a worker has which is there."""
        return {callee.tool for worker in self._roster.each() for callee in worker.callees.values()}
