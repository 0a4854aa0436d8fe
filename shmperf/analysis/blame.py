"""
Which tool's trouble explains another's: a slow child makes its callers slow, and is told alone.

    a caller is worse ──► so is a child of it ────────► explained: named in that one's evidence
                     └──► it does little but call ────► held for a while, then told
                     └──► else ───────────────────────► told

A child explains a caller's durations when it takes at least half of the caller's time by the call
graph, and a caller's errors when it is called by it at all. A change is held because detectors of
caller and child need not see it in the same look. What an alert explains waits until that is over:
if the caller is still worse some time later, it is so of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from .alerts import Alerts, Held
from .changes import Change
from .treestate import Edge

__all__ = ["Children", "assign"]

_HALF = 0.5
# Intervals for which a caller waits for what it calls, and after that is over.
_HOLD, _AFTER = 1.0, 6.0
# Until when one is held that nobody has looked at.
_NEW = 0.0


class Children:
    """Who calls whom, and what part of the caller's time that is."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._time_ns: dict[str, int] = {}
        self._below: dict[str, dict[str, int]] = {}
        for edge in edges:
            self._time_ns[edge.tool] = self._time_ns.get(edge.tool, 0) + edge.total_ns
            if edge.parent is not None and edge.parent != edge.tool:
                self._below.setdefault(edge.parent, {})[edge.tool] = edge.total_ns

    def of(self, tool: str, kind: str) -> list[str]:
        """The tools below *tool* that can explain its trouble, the greatest part first."""
        below = self._below.get(tool, {})
        least = _HALF * self._time_ns.get(tool, 0) if kind == "latency" else 0
        return sorted(
            (one for one, ns in below.items() if ns >= least), key=lambda one: -below[one]
        )

    def cause(self, tool: str, kind: str, worse: Collection[str]) -> str:
        """The lowest tool in *worse* that explains *tool*; itself without one."""
        seen = {tool}
        while True:
            below = [one for one in self.of(tool, kind) if one in worse and one not in seen]
            if not below:
                return tool
            tool = below[0]
            seen.add(tool)


class Assigned(NamedTuple):
    """Changes that are to be told, and all that are held now."""

    told: list[Change]
    held: list[Held]


def assign(
    alerts: Alerts,
    begun: Iterable[Change],
    ended: Iterable[Change],
    at_s: float,
    interval_s: float,
    edges: Callable[[], Iterable[Edge]],
) -> Assigned:
    """What of *begun* and of what is held is to be told *at_s*; *edges* are asked for at need."""
    over = {(change.kind, change.tool) for change in ended}
    waiting = {key: held for key, held in alerts.held.items() if key not in over}
    for change in begun:
        waiting[change.kind, change.tool] = Held(change, _NEW)
    if not waiting:
        return Assigned([], [])
    children = Children(edges())
    told: list[Change] = []
    kept: list[Held] = []
    for (kind, tool), held in waiting.items():
        worse = _worse(alerts, waiting, over, kind)
        cause = children.cause(tool, kind, worse)
        if held.cause and held.cause in worse:
            kept.append(held)
        elif cause != tool:
            kept.append(Held(held.change, at_s, cause))
        elif held.cause:
            kept.append(Held(held.change, at_s + _AFTER * interval_s))
        elif held.until_s == _NEW and children.of(tool, kind):
            kept.append(Held(held.change, at_s + _HOLD * interval_s))
        elif held.until_s <= at_s:
            told.append(held.change)
        else:
            kept.append(held)
    return Assigned(told, kept)


def _worse(
    alerts: Alerts,
    waiting: Mapping[tuple[str, str], Held],
    over: Collection[tuple[str, str]],
    kind: str,
) -> set[str]:
    """The tools that are worse now, told or not."""
    opened = {alert.tool for alert in alerts.open.values() if alert.kind == kind and alert.tool}
    held = {tool for one, tool in waiting if one == kind}
    return (opened | held) - {tool for one, tool in over if one == kind}
