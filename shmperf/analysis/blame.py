"""
Which tool's trouble explains another's: a slow child makes its callers slow, and is told alone.

    a caller is worse ──► so is a child of it ────────► explained: named in that one's evidence
                     └──► it does little but call ────► held for a while, then told
                     └──► else ───────────────────────► told

Children that are worse, all of them together, explain a caller's durations when they take at least
half of the caller's time by the call graph; or, for that graph counts since the last cleanup, when
what each call of theirs takes longer makes up half of what the caller's takes longer. They explain
a caller's errors when it calls them at all. A change is held because detectors of caller and child
need not see it in the same look. What an alert explains waits until that is over: if the caller is
still worse some time later, it is so of itself. Of tools that call each other in a circle one is
told for all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from .alerts import Alerts, Held
from .changes import Change
from .treestate import Edge

__all__ = ["Children", "assign"]

_HALF = 0.5
# What a change speaks of in seconds.
_TIMED = ("p50", "p95")
# A child below fewer of a caller's calls moves none of its percentiles.
_OFTEN = 0.05
# Intervals for which a caller waits for what it calls, and after that is over.
_HOLD, _AFTER = 1.0, 6.0
# Tools that are worse, and by how many seconds a call takes longer; 0 where that is not known.
Rises: TypeAlias = Mapping[str, float]
# Until when one is held that nobody has looked at.
_NEW = 0.0


class Children:
    """Who calls whom, and what part of the caller's time that is."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._time_ns: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._below: dict[str, dict[str, Edge]] = {}
        for edge in edges:
            self._time_ns[edge.tool] = self._time_ns.get(edge.tool, 0) + edge.total_ns
            self._calls[edge.tool] = self._calls.get(edge.tool, 0) + edge.calls
            if edge.parent is not None and edge.parent != edge.tool:
                self._below.setdefault(edge.parent, {})[edge.tool] = edge

    def of(self, tool: str, kind: str) -> list[str]:
        """The tools below *tool* each of which can explain its trouble."""
        least = _HALF * self._time_ns.get(tool, 0) if kind == "latency" else 0
        return [one for one, edge in self._below.get(tool, {}).items() if edge.total_ns >= least]

    def cause(self, tool: str, kind: str, worse: Rises, told: Collection[str] = ()) -> str:
        """
        The lowest tool in *worse* that explains *tool*; itself without one.

        In a circle that is one of those that were *told*, if any was, whoever is asked for.
        """
        path = [tool]
        while below := self._explaining(path[-1], kind, worse):
            lower = next((one for one in below if one not in path), None)
            if lower is None:
                circle = path[min(map(path.index, below)) :]
                return min(circle, key=lambda one: (one not in told, one))
            path.append(lower)
        return path[-1]

    def _explaining(self, tool: str, kind: str, worse: Rises) -> list[str]:
        """The tools below *tool* that are worse, if they explain it; what does most of it first."""
        below = self._below.get(tool, {})
        found = {one: below[one] for one in below.keys() & worse.keys()}
        added_s = {one: self._added_s(tool, edge, worse[one]) for one, edge in found.items()}
        if kind == "latency":
            takes = sum(edge.total_ns for edge in found.values())
            rise_s = worse.get(tool, 0.0)
            is_explained = rise_s > 0 and sum(added_s.values()) >= _HALF * rise_s
            if takes < _HALF * self._time_ns.get(tool, 0) and not is_explained:
                return []
        return sorted(found, key=lambda one: (-added_s[one], -found[one].total_ns, one))

    def _added_s(self, caller: str, edge: Edge, rise_s: float) -> float:
        """By how much *edge*'s calls, each longer by *rise_s*, make a call of *caller* longer."""
        each = edge.calls / max(1, self._calls.get(caller, 0))
        return max(1.0, each) * rise_s if each >= _OFTEN else 0.0


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
    kinds = {kind for kind, _ in waiting}
    opened = {kind: _opened(alerts, over, kind) for kind in kinds}
    worse_of = {kind: opened[kind] | _waiting(waiting, kind) for kind in kinds}
    told: list[Change] = []
    kept: list[Held] = []
    for (kind, tool), held in waiting.items():
        worse = worse_of[kind]
        cause = children.cause(tool, kind, worse, opened[kind])
        if held.cause and held.cause in worse and held.cause != tool:
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


def _opened(alerts: Alerts, over: Collection[tuple[str, str]], kind: str) -> dict[str, float]:
    """The tools that are told to be worse, and by how much as far as that is known."""
    return {
        alert.tool: _rise_s(alert.evidence)
        for alert in alerts.open.values()
        if alert.kind == kind and alert.tool and (kind, alert.tool) not in over
    }


def _waiting(waiting: Mapping[tuple[str, str], Held], kind: str) -> dict[str, float]:
    """Those that are worse and not told."""
    return {
        tool: held.change.now - held.change.usual if held.change.what in _TIMED else 0.0
        for (one, tool), held in waiting.items()
        if one == kind
    }


def _rise_s(evidence: Mapping[str, Any]) -> float:
    """How much longer an alert says that calls take; 0 where it speaks of a share of them."""
    usual, now = evidence.get("usual"), evidence.get("now")
    if evidence.get("unit") != "s" or not isinstance(usual, float) or not isinstance(now, float):
        return 0.0
    return now - usual
