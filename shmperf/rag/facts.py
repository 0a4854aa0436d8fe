"""
What is known of a tool at the moment of a query: its stored summary, brought up to date.

    perf_summary (as of its last call) ─┐
                                        ├─► Facts: decayed successes and failures, mean latency
    totals from a running collector ────┘

In a fleet the summary's place is taken by what the sidecar keeps: this node's own figures, brought
up to date in the same way, and those of all others beside them, which nothing here can add to.

A summary counts a tool's calls as its collector does, so what the totals hold beyond it is what
has happened since; those calls count in full, as of the last one's end. Totals that are behind the
summary belong to another history: the summary stands alone. Without a summary the totals do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from shmperf.analysis.perfstate import PerfState, evidence
from shmperf.analysis.totals import Totals
from shmperf.query.fleetfacts import ToolFacts

from .utility import is_number

__all__ = ["Facts", "facts_of", "fleet_facts_of"]

Summary = Mapping[str, object]


class Facts(NamedTuple):
    """
    Evidence decays, ``calls`` and ``failed`` do not; ``latency_s`` is the recent mean.

    ``source`` is live, stored, fleet or none; ``problem`` says why a summary was passed over.
    """

    successes: float = 0.0
    failures: float = 0.0
    latency_s: float | None = None
    calls: int = 0
    failed: int = 0
    source: str = "none"
    problem: str = ""


def facts_of(summary: object, totals: Totals | None, *, half_life_s: float, now_s: float) -> Facts:
    """Join what a store and a collector say of a tool, either of which may be missing."""
    problem = "" if summary is None else _problem(summary)
    stored = summary if isinstance(summary, Mapping) and not problem else None
    if stored is not None and not _count(stored, "call_count", "aborted_count"):
        stored = None
    if totals is not None and not totals.count and not totals.aborted:
        totals = None
    if stored is None:
        if totals is None:
            return Facts(problem=problem)
        state = PerfState(half_life_s)
        state.add(totals, now_s)
        return _stored(state.summary(), now_s)._replace(source="live", problem=problem)
    facts = _stored(stored, now_s)
    if totals is None or _is_behind(totals, stored):
        return facts
    return _brought_up_to_date(facts, stored, totals, half_life_s, now_s)


def fleet_facts_of(
    known: ToolFacts, totals: Totals | None, *, half_life_s: float, now_s: float
) -> Facts:
    """The same of a tool of which other nodes know, too; each node's calls count once."""
    summary = None if known.own is None else known.own.summary()
    own = facts_of(summary, totals, half_life_s=half_life_s, now_s=now_s)
    if known.others is None:
        return own
    others = _stored(known.others.summary(), now_s)
    weights = [one.successes + one.failures for one in (own, others)]
    return Facts(
        own.successes + others.successes,
        own.failures + others.failures,
        _mean((own.latency_s, others.latency_s), weights),
        own.calls + others.calls,
        own.failed + others.failed,
        "fleet",
    )


def _mean(values: tuple[float | None, float | None], weights: list[float]) -> float | None:
    """The mean of those values that are known; the plain one where they weigh nothing any more."""
    known = [pair for pair in zip(values, weights, strict=True) if pair[0] is not None]
    whole = sum(weight for _, weight in known)
    if not known:
        return None
    if whole <= 0:
        return sum(value or 0.0 for value, _ in known) / len(known)
    return sum((value or 0.0) * weight for value, weight in known) / whole


def _stored(summary: Summary, now_s: float) -> Facts:
    successes, failures = evidence(summary, now_s)
    mean_ms = summary.get("avg_duration_ms")
    return Facts(
        successes,
        failures,
        mean_ms / 1000 if isinstance(mean_ms, int | float) else None,
        _count(summary, "call_count", "aborted_count"),
        _count(summary, "error_count", "aborted_count"),
        "stored",
    )


def _brought_up_to_date(
    facts: Facts, summary: Summary, totals: Totals, half_life_s: float, now_s: float
) -> Facts:
    finished = totals.count - _count(summary, "call_count")
    failed = totals.errors - _count(summary, "error_count")
    aborted = totals.aborted - _count(summary, "aborted_count")
    age_s = max(0.0, now_s - totals.last_ended_ns / 1e9) if totals.last_ended_ns else 0.0
    share = math.exp2(-age_s / half_life_s)
    weight = facts.successes + facts.failures
    latency_s, known_s = facts.latency_s, _overall_s(summary)
    if finished and known_s is None:
        latency_s = totals.whole_ns / totals.count / 1e9
    elif finished and known_s is not None and latency_s is not None:
        added_s = max(0.0, totals.whole_ns / 1e9 - known_s)
        latency_s = (weight * latency_s + share * added_s) / (weight + share * finished)
    return Facts(
        facts.successes + share * max(0, finished - failed),
        facts.failures + share * (failed + aborted),
        latency_s,
        totals.count + totals.aborted,
        totals.errors + totals.aborted,
        "live",
    )


def _overall_s(summary: Summary) -> float | None:
    """The duration of all calls together: the recent mean ÷ the trend is the mean of them all."""
    mean_ms, trend = summary.get("avg_duration_ms"), summary.get("trend")
    if not isinstance(mean_ms, int | float) or not isinstance(trend, int | float) or trend <= 0:
        return None
    return mean_ms / trend * _count(summary, "call_count") / 1000


def _is_behind(totals: Totals, summary: Summary) -> bool:
    return (
        totals.count < _count(summary, "call_count")
        or totals.errors < _count(summary, "error_count")
        or totals.aborted < _count(summary, "aborted_count")
    )


def _count(summary: Summary, *keys: str) -> int:
    found = 0
    for key in keys:
        value = summary.get(key)
        found += int(value) if isinstance(value, int | float) else 0
    return found


def _problem(summary: object) -> str:
    """Why a summary can't be believed; empty when it can."""
    if not isinstance(summary, Mapping):
        return f"its summary is {type(summary).__name__}, not a mapping"
    for key, most in _RANGES.items():
        value = summary.get(key)
        if value is not None and not (is_number(value) and 0 <= value <= most):
            return f"its summary has {key} {str(value)[:20]}"
    return ""


# The greatest value of each figure that counts here; none is negative.
_RANGES = {
    "avg_duration_ms": 1e15,
    "call_count": 2.0**63,
    "error_count": 2.0**63,
    "aborted_count": 2.0**63,
    "error_rate": 1.0,
    "success_lower_bound": 1.0,
    "half_life_s": 1e12,
    "trend": math.inf,
}
