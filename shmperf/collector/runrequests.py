"""
Answers to those who want a run of the optimization cycle: all who ask meanwhile share one.

Whoever asks has a token and asks again and again with it: the run that they have begun or joined
remembers it, over a kill of the collector too, so that asking again never begins a second one.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shmperf.analysis.optimization import MOST_TOKENS, Run
from shmperf.errors import SessionError
from shmperf.session.messages import Optimize, RunProgress, RunStatus

from .optimizing import Optimizing
from .runcontrol import MANUAL

__all__ = ["RunRequests"]


class RunRequests:
    """Who waits for a run; the collector's thread."""

    def __init__(self, optimizing: Optimizing, clock: Callable[[], float]) -> None:
        self._optimizing = optimizing
        self._clock = clock

    def progress(self, asked: Optimize) -> RunProgress:
        """
        Begin a run, or join the one that is going on: how far it is, and in the end its report.

        Asked again with the same token, the same run is meant.
        """
        optimizing = self._optimizing
        analysis = optimizing.analysis
        if asked.token in analysis.marks.last_tokens:
            return self._over()
        if analysis.run is None:
            if asked.ends:
                raise SessionError("no run is going on")
            options = optimizing.options
            calls, seconds = asked.calls or options.run_calls, asked.seconds or options.run_seconds
            run = optimizing.new_run(MANUAL, calls, seconds)
            self._join(run, asked)
            optimizing.begin(run)
        else:
            self._join(analysis.run, asked)
        if asked.ends:
            optimizing.end("request")
            return self._over()
        return self._going_on(analysis.run)

    def status(self) -> RunStatus:
        """What `status` says of runs."""
        analysis = self._optimizing.analysis
        run, last = analysis.run, analysis.marks.last_name or None
        if run is None:
            return RunStatus(last_report=last)
        return RunStatus(
            trigger=run.trigger,
            calls=run.calls,
            most_calls=run.most_calls,
            ends_in_s=self._left_s(run),
            last_report=last,
        )

    def _join(self, run: Run, asked: Optimize) -> None:
        if asked.token not in run.tokens:
            if len(run.tokens) >= MOST_TOKENS:
                raise SessionError(f"found {MOST_TOKENS} others who wait for this run")
            run.tokens.append(asked.token)
        run.keeps = run.keeps or asked.keep
        self._optimizing.analysis.note()

    def _going_on(self, run: Run | None) -> RunProgress:
        if run is None:
            return RunProgress()
        return RunProgress(
            calls=run.calls,
            most_calls=run.most_calls,
            left_s=self._left_s(run),
            trigger=run.trigger,
        )

    def _left_s(self, run: Run) -> float:
        return max(0.0, run.began_s + run.seconds - self._clock())

    def _over(self) -> RunProgress:
        name = self._optimizing.analysis.marks.last_name
        report = self._optimizing.report(name)
        return RunProgress(
            is_over=True,
            name=name,
            report=None if report is None else msgspec.to_builtins(report),
            problem=self._optimizing.problem,
        )
