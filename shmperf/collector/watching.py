"""
What turned bad: the collector looks now and then, and alerts begin and end.

    totals that changed ──► groups ──► changes ──► explained? ──► latency, errors
    open calls ───────────► older than stuck_factor · p99 ──────► stuck
    losses, by cause ─────► new ones ───────────────────────────► lost
    nobody called ────────► its workers are there (`silencing`) ► silence

A look takes little: totals of tools that have changed since the last, a piece of them at a time, as
many as it takes for all to have their turn within an interval. Of a tool that is being learnt there
is a group each second, of others one an interval; where a piece would take too long, its groups are
longer, and say so. What was drained in a run of the optimization cycle is in no group, nor what a
former collector had counted.

The cycle's thread; nothing here touches the disk (see `alerting`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

import msgspec

from shmperf.analysis.alerts import Alerts
from shmperf.analysis.alerttext import Stuck, change_said, end_evidence, lost_said, stuck_said
from shmperf.analysis.blame import assign
from shmperf.analysis.changes import Change, Changes, Group
from shmperf.analysis.totals import Totals
from shmperf.config.options import Options
from shmperf.shm.inflight import OpenRow
from shmperf.storage.state import Ledger

from .drain import WorkerDrain
from .ingest import Ingest
from .roster import Roster
from .silencing import Silencing
from .wallclock import WallClock

__all__ = ["Watching"]

# Tools of a look: what is nothing, and what is a tenth of a second on a slow machine.
_PIECE, _MOST_PIECE = 200, 1_500
# Looks come a little later than they should: so many more tools each are needed.
_LATENESS = 1.5
_LEAST_STUCK_S = 1.0
_LEAST_CALLS = 50
# A look that comes so much later than it should have, and time has not been ours: a machine slept.
_LATE_S = 60.0
# Without a further loss for so long, losing is over.
_LOSSES_OVER_S = 300.0
_MOST_OPEN_SEEN = 100_000

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, int, dict[int, int], float]).decode


class _Owed(NamedTuple):
    """A tool that was called, which no group has yet; and when that was not so, for sure."""

    totals: Totals
    since_s: float


class _Running(NamedTuple):
    """An open call that runs for too long."""

    worker: WorkerDrain
    row: OpenRow
    tool: str
    limit_ns: float


class Watching:
    """The collector's thread; `look` once a second."""

    def __init__(self, ledger: Ledger, roster: Roster, ingest: Ingest, wall: WallClock) -> None:
        self._ledger = ledger
        self._roster = roster
        self._ingest = ingest
        self._wall = wall
        self._silencing = Silencing(ledger, roster)
        # By tool: count, errors and histogram at its last group, packed, and when that was.
        self._seen: dict[str, bytes] = {}
        self._counted: dict[str, int] = {}
        self._changes: Changes | None = None
        # Of which all alarms were ended, as nobody watches.
        self._resting: Changes | None = None
        self._due: dict[str, _Owed] = {}
        self._pace = 0.0
        self._looked_s = self._interval_began_s = 0.0
        self._revision = self._interval_revision = -1
        self._begun = 0
        self._lost_at_s = 0.0
        # Stuck calls that had ended by the last look, their records not read.
        self._ended: set[int] = set()
        self.configure(ledger.options)

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.anomaly = options.anomaly
        changes = self._ledger.analyses.of(Changes)
        changes.configure(options.anomaly.interval_seconds, options.anomaly.effect)

    @property
    def alerts(self) -> Alerts:
        """What is known of alerts; a restart exchanges it."""
        return self._ledger.analyses.of(Alerts)

    def learning(self) -> dict[str, float]:
        """The tools of which too little is known to tell what is usual; which share is done."""
        return self._ledger.analyses.of(Changes).learning() if self.anomaly.enabled else {}

    def look(self) -> None:
        """Look at all there is to look at now."""
        now_s = self._wall.now_ns() / 1e9
        changes = self._ledger.analyses.of(Changes)
        self.alerts.look(now_s)
        if not self.anomaly.enabled:
            self._rest(changes, now_s)
            return
        self._resting = None
        slept = now_s - self._looked_s > _LATE_S
        if changes is not self._changes or self._ingest.dating.in_run or slept:
            self._begin_anew(changes, now_s)
        self._looked_s = now_s
        self._tell_changes(self._look_at_totals(changes, now_s), now_s)
        self._look_at_open_calls(now_s)

    def _rest(self, changes: Changes, now_s: float) -> None:
        """Nobody watches: nothing is open, and what still goes on then begins anew."""
        for key in self.alerts.open:
            self.alerts.end(key, now_s, {"reason": "switched off"})
        if changes is self._resting:
            return
        self._resting, self._changes = changes, None
        self.alerts.hold([])
        changes.end_all(now_s)
        self._silencing.silences.begin_all_anew()

    def _begin_anew(self, changes: Changes, now_s: float) -> None:
        """What is counted by now is in no group."""
        if changes is not self._changes:
            self._changes = changes
            # When the last call was lost nobody knows any more.
            self._lost_at_s = now_s
            self.configure(self._ledger.options)
        totals = self._ledger.totals
        self._due = {}
        self._interval_began_s = now_s
        self._silencing.begin_anew(now_s)
        self._revision = self._interval_revision = totals.revision
        self._seen = {tool: _kept(one, now_s) for tool, one in totals.known.items()}
        self._counted = {tool: one.count for tool, one in totals.known.items()}

    # --- durations and errors --------------------------------------------------------------------

    def _look_at_totals(self, changes: Changes, now_s: float) -> list[Change]:
        totals = self._ledger.totals
        if totals.revision != self._revision:
            changed = totals.changed_after(self._revision)
            self._owe(one for one in changed.items() if self._is_due(*one))
            self._revision = totals.revision
        found: list[Change] = []
        if now_s - self._interval_began_s >= self.anomaly.interval_seconds:
            called = totals.changed_after(self._interval_revision)
            self._owe(called.items())
            self._interval_revision = totals.revision
            self._interval_began_s = now_s
            found += changes.expire(now_s)
            self._look_at_losses(now_s)
            self._silencing.look(called, now_s, self.anomaly.interval_seconds)
        for tool in self._piece():
            group = self._group(tool, self._due.pop(tool), now_s)
            if group is not None:
                found += changes.add(tool, group)
        return found

    def _is_due(self, tool: str, now: Totals) -> bool:
        """True for a tool that is being learnt, once there are calls enough for a group."""
        if now.count - self._counted.get(tool, 0) < _LEAST_CALLS:
            return False
        return self._ledger.analyses.of(Changes).is_learning(tool)

    def _owe(self, called: Iterable[tuple[str, Totals]]) -> None:
        """Groups of these tools are due; what was called in an earlier interval was so then."""
        for tool, totals in called:
            known = self._due.get(tool)
            since_s = self._interval_began_s if known is None else known.since_s
            self._due[tool] = _Owed(totals, since_s)

    def _piece(self) -> list[str]:
        """The tools whose turn it is now."""
        if not self._due:
            self._pace = 0.0
        needed = len(self._due) * _LATENESS / self.anomaly.interval_seconds
        self._pace = max(self._pace, needed)
        return list(islice(self._due, min(_MOST_PIECE, max(_PIECE, math.ceil(self._pace)))))

    def _group(self, tool: str, owed: _Owed, now_s: float) -> Group | None:
        """What was counted of *tool* since its last group; None after a cleanup."""
        now, former = owed.totals, self._seen.get(tool)
        self._seen[tool], self._counted[tool] = _kept(now, now_s), now.count
        count, errors, histogram, at_s = 0, 0, dict[int, int](), owed.since_s
        if former is not None:
            count, errors, histogram, at_s = _unpack(former)
        if now.count < count or now.errors < errors:
            return None
        new = {
            index: more
            for index, known in now.histogram.items()
            if (more := known - histogram.get(index, 0)) > 0
        }
        length_s = max(0.0, now_s - max(at_s, owed.since_s))
        return Group(now.count - count, now.errors - errors, new, now_s - length_s, length_s)

    def _tell_changes(self, changes: Iterable[Change], now_s: float) -> None:
        alerts = self.alerts
        found = list(changes)
        begun = [change for change in found if change.is_begin]
        ended = [change for change in found if not change.is_begin]
        if not found and not alerts.held:
            return
        for change in ended:
            alerts.end((change.kind, change.tool), change.at_s, end_evidence(change))
        interval_s = self.anomaly.interval_seconds
        told, held = assign(
            alerts, begun, ended, now_s, interval_s, lambda: self._ledger.tree.graph({})
        )
        for change in told:
            said = change_said(change)
            key = change.kind, change.tool
            explains = [one.change.tool for one in held if one.cause == change.tool]
            evidence = said.evidence | ({"explains": explains[:20]} if explains else {})
            alerts.begin(key, said.severity, change.since_s, said.text, evidence)
        for one in held:
            if one.cause:
                alerts.explain(one.change.kind, one.cause, one.change.tool)
        alerts.hold(held)

    # --- open calls ------------------------------------------------------------------------------

    def _look_at_open_calls(self, now_s: float) -> None:
        alerts = self.alerts
        running = self._stuck_calls()
        innermost = _innermost(running)
        for tool, calls in innermost.items():
            oldest = min(calls, key=lambda one: one.row.start_ns)
            age_s = max(0.0, (self._wall.monotonic_ns() - oldest.row.start_ns) / 1e9)
            stuck = Stuck(oldest.row.id, oldest.worker.pid, age_s, self._callers(oldest))
            said = stuck_said(tool, len(calls), oldest.limit_ns / 1e9, stuck)
            alerts.begin(("stuck", tool), said.severity, now_s - age_s, said.text, said.evidence)
        unread = self._unread()
        for kind, name in list(alerts.open):
            if kind == "stuck" and name not in innermost and name not in unread:
                alerts.end((kind, name), now_s)

    def _unread(self) -> set[str]:
        """
        The tools of stuck calls that have ended since the look before, their records unread.

        A call may end between the looks at its worker's rings and at its rows; then its record is
        drained by the next look. Of a lost one there is none, so nobody waits for longer.
        """
        alerts, here = self.alerts, self._roster.pids()
        rows = {row.id for _, row in self._roster.open_calls()} if alerts.awaited else set()
        ended = {call_id for call_id in alerts.awaited if call_id not in rows}
        fresh, self._ended = ended - self._ended, ended
        tools = {alerts.awaited[call_id] for call_id in fresh}
        return {tool for tool in tools if alerts.open["stuck", tool].evidence.get("pid") in here}

    def _stuck_calls(self) -> list[_Running]:
        now_ns = self._wall.monotonic_ns()
        limits: dict[str, float] = {}
        found = []
        for worker, row in self._roster.open_calls()[:_MOST_OPEN_SEEN]:
            age_ns = now_ns - row.start_ns
            if age_ns < _LEAST_STUCK_S * 1e9:
                continue
            tool = worker.callee(row.callee).tool
            limit_ns = limits.get(tool)
            if limit_ns is None:
                limit_ns = limits[tool] = self._limit_ns(tool)
            if age_ns > limit_ns:
                found.append(_Running(worker, row, tool, limit_ns))
        return found

    def _limit_ns(self, tool: str) -> float:
        totals = self._ledger.totals.known.get(tool)
        if totals is None or totals.count < _LEAST_CALLS:
            return float("inf")
        p99_ns = totals.quantile(0.99)
        if p99_ns is None:
            return float("inf")
        return max(_LEAST_STUCK_S * 1e9, p99_ns * self.anomaly.stuck_factor)

    def _callers(self, call: _Running) -> list[str]:
        """The tools above *call*, the nearest first, as far as they are open."""
        opened = {row.id: (worker, row) for worker, row in self._roster.open_calls()}
        chain: list[str] = []
        parent = call.row.parent
        while parent in opened and len(chain) < 20:
            worker, row = opened[parent]
            chain.append(worker.callee(row.callee).tool)
            parent = row.parent
        return chain

    # --- losses ----------------------------------------------------------------------------------

    def _look_at_losses(self, now_s: float) -> None:
        """Once an interval: calls that were lost since the last."""
        books = self._ledger.books(0, complete=True)
        begun, self._begun = books.begun - self._begun, books.begun
        now, alerts = dict(books.losses), self.alerts
        known = alerts.losses
        alerts.note_losses(now)
        new = {} if known is None else _more(now, known)
        if new:
            self._lost_at_s = now_s
            said = lost_said(new, begun)
            at_s = now_s - self.anomaly.interval_seconds
            alerts.begin(("lost", None), said.severity, at_s, said.text, said.evidence)
        elif now_s - self._lost_at_s > _LOSSES_OVER_S:
            alerts.end(("lost", None), now_s, {"lost_in_all": now})


def _kept(totals: Totals, now_s: float) -> bytes:
    return _pack((totals.count, totals.errors, totals.histogram, now_s))


def _more(now: Mapping[str, int], known: Mapping[str, int]) -> dict[str, int]:
    """What of *now* is beyond *known*."""
    return {cause: more for cause, n in now.items() if (more := n - known.get(cause, 0)) > 0}


def _innermost(running: Iterable[_Running]) -> dict[str, list[_Running]]:
    """By tool, without callers that wait for another one of them."""
    calls = list(running)
    waited_for = {call.row.parent for call in calls}
    found: dict[str, list[_Running]] = {}
    for call in calls:
        if call.row.id not in waited_for:
            found.setdefault(call.tool, []).append(call)
    return found
