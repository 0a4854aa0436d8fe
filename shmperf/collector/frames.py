"""
Frames: what the parts have noted since the last one, journalled, made the state, slots released.

In this order, so that whoever is killed in the middle has lost nothing: a slot is there until its
meaning is in the journal.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shmperf.analysis.alerts import Alerts
from shmperf.analysis.anomaly import UNUSUAL
from shmperf.analysis.optimization import Optimization
from shmperf.session.files import write_aside
from shmperf.session.word import is_in_detail
from shmperf.shm.memory import remove_memory
from shmperf.storage.state import Clock, Frame, Limits

from .pace import Due
from .parts import Parts

__all__ = ["Frames"]


class Frames:
    """Builds and commits frames; the collector's thread."""

    def __init__(self, parts: Parts, due: Due, interval_s: float) -> None:
        """Each frame puts the next one that nothing else asks for off by *interval_s*."""
        self._parts = parts
        self._due = due
        self._interval_s = interval_s
        # When the first was asked for, monotonic: calls of all frames are counted since then.
        self._began_ns: int | None = None
        # Of one cleanup; the next frame tells it.
        self.has_cleaned = False
        # Of a run's clean-up: up to when, by tool; the next frame tells it.
        self.cut: dict[str, int] = {}

    def commit(self) -> None:
        """Journal what was drained since the last frame, make it the state, release its slots."""
        parts = self._parts
        if self._began_ns is None:
            self._began_ns = parts.wall.monotonic_ns()
        news = [worker for worker in parts.roster.each() if worker.has_news]
        for worker in news:
            if worker.rows.has_cold:
                # What has ended has begun: a frame never says otherwise.
                worker.read_rows(everywhere=True)
        self._date()
        frame = self._build()
        # What lay below an exemplar is known a little after everything else, and an interval ends
        # whether there are calls or not.
        ledger = parts.ledger
        late = ledger.exemplars.has_settled or ledger.intervals.has_news()
        late = late or ledger.analyses.of(Alerts).has_news
        late = late or ledger.analyses.of(Optimization).has_news
        if late or not frame.is_empty():
            frame.analyses = parts.ledger.analyses.take_deltas()
            parts.past.add(frame)
            self._tell_of_intervals()
            if parts.ledger.unusual.has_news:
                parts.faults.guard("unusual", self._show_unusual)
        for worker in news:
            worker.release()  # point: commit-release
        for name in parts.ingest.blobs:
            remove_memory(name, parts.session.directory)  # point: commit-blob
        parts.ingest.blobs.clear()  # point: commit-released
        self._due.put_off("commit", self._interval_s)

    def _date(self) -> None:
        """Tell intervals what was counted in each, and which of them are over."""
        parts = self._parts
        dating, ledger = parts.ingest.dating, parts.ledger
        if dating.is_due():
            dating.look()
        if dating.is_behind():
            in_pass = any(worker.is_in_pass for worker in parts.roster.each())
            dating.close(is_caught_up=not in_pass)
        ledger.intervals.add(ledger.totals.parts())

    def _tell_of_intervals(self) -> None:
        """What of them had to be let go; counted from the next frame on."""
        kept = self._parts.ledger.intervals.kept
        if kept.let_go_untold:
            text = "intervals fill what they may; the oldest are let go before they are 30 days old"
            self._parts.faults.count("intervals_let_go", text, kept.let_go_untold)
            kept.let_go_untold = 0

    def _build(self) -> Frame:
        """The one place where a frame is built: of what every part has noted since the last."""
        parts = self._parts
        drained = parts.ingest.take_change(parts.roster.each())
        accounted = parts.accounts.take_change(parts.roster.each())
        filed, archived = parts.flusher.take_change(), parts.archiving.take_change()
        state, in_detail = parts.ledger.state, is_in_detail(parts.session.word[0])
        cleaned, self.has_cleaned = self.has_cleaned, False
        limits = Limits.in_force(parts.ledger.options)
        cut = dict(self.cut)
        self.cut.clear()
        return Frame(
            workers=accounted.workers,
            kept=drained.kept,
            settled=drained.settled,
            files=filed.files | archived.files,
            segments=filed.segments | archived.segments,
            written=filed.written,
            outbox=filed.outbox or parts.alerting.take_change(),
            buried=accounted.buried,
            removed=[*parts.roster.take_removed(), *accounted.removed],
            faults=parts.faults.news(state.faults),
            clock=parts.wall.take_change(),
            cleaned=cleaned,
            erased=filed.erased,
            optimization=None if in_detail == state.optimization else in_detail,
            nameless=accounted.nameless | parts.roster.naming.take_change(),
            cut=cut,
            was_cut=filed.was_cut,
            limits=None if limits == state.limits else limits,
            since_ns=self._since_ns(is_cleanup=cleaned),
        )

    def _since_ns(self, *, is_cleanup: bool) -> int:
        """From when on is counted, where that begins anew."""
        wall = self._parts.wall
        if is_cleanup or self._began_ns is None:
            return wall.now_ns()
        # No frame was ever written; what this one has was counted since there is a collector.
        is_first = self._parts.ledger.state.clock == Clock()
        return wall.of(self._began_ns) if is_first else 0

    def commit_each(self, steps: Iterator[None]) -> None:
        """Run *steps*; what each has noted is in the journal before the next one begins."""
        for _ in steps:
            self.commit()

    def _show_unusual(self) -> None:
        """Show what left its usual range to the workers, who tell their own programs."""
        found = msgspec.msgpack.encode(self._parts.ledger.unusual.known)
        write_aside(self._parts.session.directory / UNUSUAL, found)
