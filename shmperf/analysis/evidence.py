"""
What is known of a run when advice is sought, what a piece of advice is, and how it is worded.

The constants are what evidence has to reach before anything is said: a report that is wrong once is
not read again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from shmperf.shm.record import Outcome

from .optimization import Sighting
from .totals import Totals

__all__ = [
    "FAILED",
    "LEAST_SHARE",
    "NO_PARAMETERS",
    "Advice",
    "Evidence",
    "by_tool",
    "named",
    "of_all",
    "time_text",
]

# Of the own time of all calls: what saves less is not worth a change of somebody's program.
LEAST_SHARE = 0.01
FAILED = (Outcome.ERROR, Outcome.TIMEOUT)
# Called without parameters, or with unknown ones: nothing tells two such calls apart.
NO_PARAMETERS = "{}"
_LONGEST_NAME = 60
_SECOND_NS = 10**9
_UNITS = ((_SECOND_NS, "s"), (10**6, "ms"), (10**3, "µs"), (1, "ns"))


class Advice(msgspec.Struct, kw_only=True):
    """
    One thing to do: its kind, the tool that it is about, and a sentence or two of Markdown.

    ``saves_s`` is what following it would have saved of the run, in seconds; None where that can't
    be told. What several pieces save may be the same time. ``evidence`` is what was measured, as
    JSON.
    """

    kind: str
    tool: str
    text: str
    saves_s: float | None = None
    evidence: dict[str, Any] = {}


class Evidence(msgspec.Struct, kw_only=True, dict=True):
    """
    What is known of a run: of all calls their ``totals`` by tool, of most each call.

    ``calls`` come in the order of their starts; ``unseen`` is how many others there were, of which
    only the totals are known. ``own_ns`` is a call's own time, by id. ``usual`` is what the tools'
    calls were since the last cleanup, the run's among them. ``limits`` and ``every`` are the limit
    in force of each tool, and which part of its calls is recorded; ``lost`` is calls of the session
    without a record, by cause.
    """

    calls: list[Sighting] = []
    unseen: int = 0
    totals: Mapping[str, Totals] = {}
    usual: Mapping[str, Totals] = {}
    own_ns: Mapping[int, int] = {}
    limits: Mapping[str, int] = {}
    every: Mapping[str, int] = {}
    lost: Mapping[str, int] = {}
    seconds: float = 0.0

    @cached_property
    def whole_ns(self) -> int:
        """The own time of all calls: what there is to save."""
        return sum(self.own_ns.values())

    @cached_property
    def tool_of(self) -> dict[int, str]:
        """The tool of each call, by id."""
        return {call.id: call.tool for call in self.calls}

    @cached_property
    def parent_of(self) -> dict[int, int]:
        """The id of each call's parent, by its own."""
        return {call.id: call.parent for call in self.calls}

    @cached_property
    def families(self) -> dict[int, list[Sighting]]:
        """The children of each call that has some, by id, in the order of their starts."""
        found: dict[int, list[Sighting]] = defaultdict(list)
        for call in self.calls:
            if call.parent:
                found[call.parent].append(call)
        return found

    def outermost(self, calls: Iterable[Sighting]) -> list[Sighting]:
        """Those of *calls* that lie below no other one of them: only their times add up."""
        found = list(calls)
        ids = {call.id for call in found}
        known: dict[int, bool] = {}
        return [call for call in found if not self._is_below(call.parent, ids, known)]

    def _is_below(self, at: int, ids: Collection[int], known: dict[int, bool]) -> bool:
        path = []
        while at and at not in ids and at not in known:
            # Of a circle in what others wrote the end is here, too.
            known[at] = False
            path.append(at)
            at = self.parent_of.get(at, 0)
        found = at in ids or known.get(at, False)
        known.update(dict.fromkeys(path, found))
        return found

    def is_worth(self, saves_ns: float) -> bool:
        """True when that much is worth a change."""
        return saves_ns > 0 and saves_ns >= LEAST_SHARE * self.whole_ns


def by_tool(calls: Iterable[Sighting]) -> dict[str, list[Sighting]]:
    """*calls*, in their order, by tool."""
    found: dict[str, list[Sighting]] = defaultdict(list)
    for call in calls:
        found[call.tool].append(call)
    return found


def named(name: str) -> str:
    """A tool's or a class's *name* as code in Markdown, cut where it is long."""
    shown = "".join(one if one.isprintable() else "?" for one in name.replace("`", "'"))
    shown = f"{shown[: _LONGEST_NAME - 1]}…" if len(shown) > _LONGEST_NAME else shown
    return f"`{shown}`" if shown.strip() else "`(no name)`"


def time_text(duration_ns: float) -> str:
    """A duration as people say it; three significant figures."""
    for scale, unit in _UNITS:
        if duration_ns >= scale:
            value = duration_ns / scale
            return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return "0 s"


def of_all(part_ns: float, whole_ns: float) -> str:
    """*part_ns* of *whole_ns*, as "12.4 s of 31 s (40 %)"."""
    percent = 100 * part_ns / whole_ns if whole_ns else 0.0
    return f"{time_text(part_ns)} of {time_text(whole_ns)} ({percent:.0f} %)"
