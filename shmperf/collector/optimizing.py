"""
Runs of the optimization cycle, carried out: the mode, the journal, the report, the clean-up.

`runcontrol` says what is next; this does it, in an order that a kill can't spoil. A report is
written once for a run, and its clean-up belongs to the same frame that says that the run is over:

    begin    Run journalled ─► word held ─► on, journalled
    end      name and reason journalled ─► word released ─► rings drained ─► report written ─►
             over and cut journalled ─► files rewritten, a piece at a time, by the flusher

The clean-up takes out the kept records of before the run, of the tools that the run has seen:
their figures are in the report. Those of tools that keep all stay, and so does everything else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from shmperf.analysis.optimization import Optimization, Run, summarize
from shmperf.analysis.reporttext import markdown
from shmperf.analysis.runreport import Report, Setting, report_of
from shmperf.config.options import Options
from shmperf.errors import ShmperfError, StoreError
from shmperf.session.word import is_held, is_in_detail
from shmperf.shm.record import Call
from shmperf.storage.reports import Reports

from .pace import Clocks
from .parts import Parts
from .runcontrol import THRESHOLD, Begin, End, Finish, Hold, Look, Release, next_step

__all__ = ["Optimizing", "Steps"]

_KEY_BYTES = 16
_ASK_AGAIN_S = 1.0


class Steps(NamedTuple):
    """What the cycle does for a run: drain all that had ended, journal; ``cut`` with the next."""

    settle: Callable[[], None]
    commit: Callable[[], None]
    cut: Callable[[dict[str, int]], None]


class Optimizing:
    """The session's runs, one after the other; the collector's thread."""

    def __init__(self, parts: Parts, steps: Steps, clocks: Clocks) -> None:
        self._parts = parts
        self._steps = steps
        self._clocks = clocks
        self._token = parts.session.token.hex()
        self._files = Reports(parts.session.storage, parts.disk.thread)
        self._report: tuple[str, Report] | None = None
        # Why the last report is not on disk.
        self.problem = ""
        self._retry_at_s = 0.0
        parts.bodies.protect = self._protect
        self.configure(parts.ledger.options)

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.options = options.optimization
        self._limit_of = options.limit_of

    @property
    def analysis(self) -> Optimization:
        """What is known of runs; a restart exchanges it."""
        return self._parts.ledger.analyses.of(Optimization)

    def _protect(self, call: Call, start_ns: int) -> None:
        """Of *call*, in detail, cut parameters that nobody has asked for."""
        if self.analysis.is_private(start_ns):
            summarize(call, self.analysis.marks.key)

    # --- the cycle -------------------------------------------------------------------------------

    def look(self) -> None:
        """Do what is next, if anything is; now and then, and at once while a run is going on."""
        self._begin_session()
        now_s = self._clocks.seconds()
        if now_s < self._retry_at_s:
            return
        try:
            while self._do_next():
                pass
        except (ShmperfError, OSError):
            # The word can't be had now: somebody holds its lock.
            self._retry_at_s = now_s + _ASK_AGAIN_S
            raise

    def resume(self) -> None:
        """Take up what is known: count from here, and see the calls of a run that is going on."""
        self._begin_session()
        self._parts.ingest.dating.in_run = self.analysis.run is not None

    def _do_next(self) -> bool:
        """Do one thing; True when something else may be next."""
        analysis = self.analysis
        step = next_step(analysis.marks, analysis.run, self.options, self._seen())
        if isinstance(step, Begin):
            most, seconds = self.options.run_calls, self.options.run_seconds
            self.begin(self.new_run(THRESHOLD, most, seconds))
        elif isinstance(step, Hold):
            self._hold()
        elif isinstance(step, Release):
            self._parts.session.settings.release()
        elif isinstance(step, End):
            self._name_report(step.reason)
        elif isinstance(step, Finish):
            self._finish_run()
        return isinstance(step, Begin | Hold | End)

    def _seen(self) -> Look:
        parts = self._parts
        return Look(
            self._clocks.seconds(),
            self._token,
            parts.accounts.drained(),
            is_held(parts.session.word[0]),
            parts.past.is_taken_up and not parts.session.settings.current.is_test,
        )

    def _begin_session(self) -> None:
        """Count from here, once in a session; windows are times of one boot."""
        marks, boot_id = self.analysis.marks, self._parts.ledger.state.clock.boot_id
        if marks.session == self._token:
            return
        marks.session, marks.counted_from = self._token, self._parts.accounts.drained()
        marks.automatic_s = None
        marks.key = marks.key or os.urandom(_KEY_BYTES)
        if marks.boot_id != boot_id:
            marks.boot_id, marks.windows = boot_id, []
        self.analysis.note()

    def begin(self, run: Run) -> None:
        """Begin *run*; none is going on."""
        # What had ended before is none of its.
        self._steps.settle()  # point: run-settle
        if run.trigger == THRESHOLD:
            self.analysis.marks.automatic_s = run.began_s
        self.analysis.begin(run)
        self._parts.ingest.dating.in_run = True
        self._hold()

    def end(self, reason: str) -> None:
        """End the run that is going on, if there is one, with its report."""
        run = self.analysis.run
        if run is not None and not run.is_ending:
            self._name_report(reason)
        if self.analysis.run is not None:
            self._finish_run()

    def report(self, name: str) -> Report | None:
        """The report of that *name*; None when it can't be read."""
        if self._report is None or self._report[0] != name:
            self._report = self._files.load(name)
        return None if self._report is None else self._report[1]

    # --- a run -----------------------------------------------------------------------------------

    def new_run(self, trigger: str, most_calls: int, seconds: float) -> Run:
        """A run that begins now."""
        return Run(
            trigger=trigger,
            session=self._token,
            began_s=self._clocks.seconds(),
            began_ns=self._parts.wall.of(self._clocks.nanoseconds()),
            most_calls=most_calls,
            seconds=seconds,
            keeps=not self.options.cleanup_on_optimize,
        )

    def _hold(self) -> None:
        analysis, session = self.analysis, self._parts.session
        run = analysis.run
        if run is None:
            return
        if run.trigger == THRESHOLD and not is_in_detail(session.word[0]):
            analysis.open_window(self._clocks.nanoseconds())
        self._steps.commit()  # point: run-begin
        session.settings.hold()  # point: run-held
        run.is_on = True
        analysis.note()
        self._steps.commit()  # point: run-on

    def _name_report(self, reason: str) -> None:
        """The run is ending: its name, its end and the reason are journalled."""
        run = self.analysis.run
        if run is None:
            return
        run.ended_ns = self._parts.wall.of(self._clocks.nanoseconds())
        run.reason = reason
        run.name = self._files.new_name(run.ended_ns / 1e9)
        self.analysis.close_window(self._clocks.nanoseconds(), is_switched=reason == "mode")
        self.analysis.note()
        self._steps.commit()  # point: run-named

    def _finish_run(self) -> None:
        """Switch back, see what had ended, write the report; then the run is over."""
        analysis, parts = self.analysis, self._parts
        run = analysis.run
        if run is None:
            return
        if run.session == self._token:
            try:
                parts.session.settings.release()  # point: run-released
            except (ShmperfError, OSError) as error:
                # A word that stays held is released as soon as it can be.
                parts.faults.count("mode", f"the mode can't be switched back: {error}")
            self._steps.settle()  # point: run-drained
        if _has_seen(run, analysis):
            self._write(run)  # point: run-written
            analysis.remember(run)
        cut = {} if run.keeps else self._to_clean(run)
        analysis.marks.counted_from = parts.accounts.drained()
        analysis.end()
        parts.ingest.dating.in_run = False
        self._steps.cut(cut)
        self._steps.commit()  # point: run-over

    def _write(self, run: Run) -> None:
        parts = self._parts
        setting = Setting(
            usual=self._parts.ledger.totals.known,
            limits={tool: self._limit_of(tool) for tool in self.analysis.totals.known},
            every={tool: parts.choosing.every_of(tool) for tool in self.analysis.totals.known},
            lost=parts.ledger.books(0, complete=True).losses,
        )
        report = report_of(run, self.analysis, setting, self._files.before(run.name))
        self._report, self.problem = (run.name, report), ""
        try:
            self._files.write(run.name, report, markdown(report))
            parts.faults.mended("report_unwritten")
        except StoreError as error:
            self.problem = f"the report of a run can't be written: {error}"
            parts.faults.count("report_unwritten", self.problem)

    def _to_clean(self, run: Run) -> dict[str, int]:
        """Up to when records of each tool go: of tools that the run has seen."""
        seen = self.analysis.totals.known.items()
        return {tool: run.began_ns for tool, one in seen if one.count and self._limit_of(tool) >= 0}


def _has_seen(run: Run, seen: Optimization) -> bool:
    """
    False for a run that nobody asked for and that its session ended before a call did.

    A program that is over as soon as the threshold is reached: a report of nothing would stand
    before the last one that tells something.
    """
    is_cut_short = run.trigger == THRESHOLD and run.reason == "session"
    return not is_cut_short or run.calls > 0 or bool(seen.totals.known)
