"""
How each tool is sampled now: chosen from what is known of it, and told to the workers.

    configuration: every, tools ──────────────┐
    overhead_budget, costs, its mean of late ─┴─► one of N ─┐
    its p99, where that is to be kept ──────────────────────┴─► settings ─► session word ─► workers

Workers see a change at their next call, as they see any other. There is one at most once a second,
and only for what has left its choice by a factor: each costs every worker a look at the settings.
The choices lie in the session's settings, so the next collector goes on with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import nlargest

import msgspec

from shmperf.analysis.budget import Choice, Costs, choose
from shmperf.analysis.totals import Totals
from shmperf.config.options import Options
from shmperf.session.messages import SamplingStatus
from shmperf.session.session import Session
from shmperf.session.settings import ToolSampling
from shmperf.storage.state import Ledger

__all__ = ["Choosing"]

_LOOK_S = 1.0
# Of fewer timed calls neither a mean nor a p99 is believed.
_ENOUGH = 100
# A threshold that is off by less stays.
_SLOW_LEAVES = 1.25
# Settings go to every worker, and looking takes time: of more tools the busiest are chosen for.
_MOST_TOOLS = 2_000
# The weight of the last look in the mean of late.
_LATE = 0.5


class _Seen(msgspec.Struct):
    """What the last look found of a tool."""

    timed: int = 0
    sum_ns: int = 0
    mean_ns: float = 0.0


class Choosing:
    """The sampling of every tool of one session; the collector's thread."""

    def __init__(
        self,
        ledger: Ledger,
        session: Session,
        clock: Callable[[], float],
        measured: Callable[[], Costs],
    ) -> None:
        """*measured* takes some milliseconds, and is asked once, when there is a budget."""
        self._ledger = ledger
        self._session = session
        self._clock = clock
        self._measured = measured
        self._costs: Costs | None = None
        self._due_s = clock() + _LOOK_S
        self._revision = -1
        self._seen: dict[str, _Seen] = {}
        self._choices: dict[str, Choice] = {}
        self.told: dict[str, ToolSampling] = dict(session.settings.current.sampled)
        self.sampling = session.options.sampling
        self.configure(session.options)

    def configure(self, options: Options) -> None:
        """Take up *options*; what was chosen for another budget is chosen anew."""
        if options.sampling != self.sampling:
            # What was told goes before the options, and is not what they say any more.
            self._choices = {}
            self._due_s = self._clock()
        self.sampling = options.sampling
        self._every_of = options.every_of

    @property
    def _budget(self) -> float:
        return self.sampling.overhead_budget

    def every_of(self, tool: str) -> int:
        """One of so many calls of *tool* is recorded."""
        told = self.told.get(tool)
        return self._every_of(tool) if told is None else told.every

    def slow_ns_of(self, tool: str) -> int:
        """Calls of *tool* above this are all recorded; 0 where nobody looks."""
        told = self.told.get(tool)
        return 0 if told is None else told.slow_ns

    def look(self) -> None:
        """Choose anew what is to be, once a second, and tell the workers what has changed."""
        now_s = self._clock()
        if now_s < self._due_s:
            return
        self._due_s = now_s + _LOOK_S
        sampling = self.sampling
        if not self._budget and sampling.every == 1 and not sampling.tools and not self.told:
            return
        found = dict(self._chosen())
        if found != self.told:
            self.told = found
            # point below: choosing-told
            self._session.settings.amend(
                lambda settings: msgspec.structs.replace(settings, sampled=found)
            )

    def status(self) -> dict[str, SamplingStatus]:
        """How tools are sampled, and why; those of which not every call is recorded."""
        known = self._ledger.totals.known
        tools = {*self.told, *(tool for tool in known if self._every_of(tool) > 1)}
        return {
            tool: SamplingStatus(
                every=self.every_of(tool),
                reason=self._reason(tool),
                slow_kept=self.slow_ns_of(tool) > 0,
            )
            for tool in sorted(tools)[:_MOST_TOOLS]
            if self.every_of(tool) > 1
        }

    def _reason(self, tool: str) -> str:
        choice = self._choices.get(tool)
        if choice is not None:
            return choice.reason
        if tool in self.sampling.tools or not self._budget:
            waits = "" if self.slow_ns_of(tool) else "; too few calls so far to say which are slow"
            return f"as sampling.{'tools' if tool in self.sampling.tools else 'every'} says{waits}"
        return "as chosen before the collector was started"

    def _chosen(self) -> Iterator[tuple[str, ToolSampling]]:
        """What workers are to be told: of the busiest tools, those that are sampled."""
        totals = self._ledger.totals
        changed, self._revision = totals.changed_after(self._revision), totals.revision
        known = totals.known
        for tool, counted in changed.items():
            self._note(tool, counted)
        tools: Iterable[str] = known
        if len(known) > _MOST_TOOLS:
            tools = nlargest(_MOST_TOOLS, known, key=lambda tool: known[tool].count)
        for tool in tools:
            every, keeps_slow = self._every_for(tool)
            if every == self._every_of(tool) == 1:
                continue
            slow_ns = self.slow_ns_of(tool)
            if not keeps_slow or every == 1:
                slow_ns = 0
            elif tool in changed:
                slow_ns = _slow_ns(known[tool], slow_ns)
            yield tool, ToolSampling(every, slow_ns)

    def _note(self, tool: str, counted: Totals) -> None:
        seen = self._seen.setdefault(tool, _Seen())
        timed = counted.timed
        if timed < seen.timed or counted.sum_ns < seen.sum_ns:
            # A cleanup.
            seen.timed = seen.sum_ns = 0
        calls = timed - seen.timed
        if calls >= _ENOUGH or (calls and seen.mean_ns):
            mean_ns = (counted.sum_ns - seen.sum_ns) / calls
            weight = _LATE * min(1.0, calls / _ENOUGH) if seen.mean_ns else 1.0
            seen.mean_ns += weight * (mean_ns - seen.mean_ns)
            seen.timed, seen.sum_ns = timed, counted.sum_ns

    def _every_for(self, tool: str) -> tuple[int, bool]:
        """One of how many, and whether there is time to see which are slow."""
        if not self._budget or tool in self.sampling.tools:
            self._choices.pop(tool, None)
            return self._every_of(tool), True
        mean_ns = self._seen[tool].mean_ns if tool in self._seen else 0.0
        choice = self._choices.get(tool)
        if not mean_ns:
            told = self.told.get(tool)
            return (self._every_of(tool), True) if told is None else (told.every, told.slow_ns > 0)
        if self._costs is None:
            self._costs = self._measured()
        own_ns = self._costs.own_ns(mean_ns)
        if choice is None or not choice.holds_for(own_ns):
            choice = self._choices[tool] = choose(self._budget, own_ns, self._costs)
        return choice.every, choice.keeps_slow


def _slow_ns(counted: Totals, told_ns: int) -> int:
    """The p99 of what was *counted*, or what was told of it where that is near."""
    found = counted.quantile(0.99) if counted.timed >= _ENOUGH else None
    if found is None or told_ns / _SLOW_LEAVES <= found <= told_ns * _SLOW_LEAVES:
        return told_ns
    return max(1, found)
