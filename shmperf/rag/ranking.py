"""
Tools in the order in which to choose them: alike to the query, reliable and fast.

    search ─► (artifact, similarity) ─┐
    perf_summary beside the artifact ─┼─► Facts ─► utility ─► Ranked, the best first
    a running collector's totals ─────┤
    what other nodes of a fleet know ─┘

Nothing is left out: what can't be used (no number for a similarity, an open circuit) comes last
and says why. A tool of which nothing is known is assumed to succeed as often as the prior says and
to take as long as the others do, so that it stands behind the proven good ones and before the bad.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, NamedTuple

import msgspec

from .breaker import CircuitBreaker
from .facts import Facts, facts_of, fleet_facts_of
from .live import LiveStatistics
from .protocol import PerfStore
from .utility import Weighing, is_number

__all__ = ["Candidate", "Ranked", "Weighed", "rank"]

Candidate = tuple[str | Mapping[str, Any], float]
Summaries = Mapping[str, Mapping[str, object]]


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """
    A candidate's name, and what it was ranked by; ``why`` is one sentence.

    ``success``, ``speed`` and ``relevance`` lie between 0 and 1; ``latency_s`` is None where it is
    not known, ``similarity`` where it was no number. ``source`` of the facts: live, stored, fleet
    (of all nodes) or none.
    """

    name: str
    score: float
    similarity: float | None
    relevance: float
    success: float
    latency_s: float | None
    speed: float
    calls: int
    source: str
    usable: bool
    why: str


class Ranked(Weighed, frozen=True, kw_only=True):
    """A candidate with what it was ranked by; its artifact, where it came with one."""

    artifact: Mapping[str, Any] | None


class _Known(NamedTuple):
    """A candidate before it is weighed; the breaker's word, and what is wrong with it."""

    name: str
    artifact: Mapping[str, Any] | None
    similarity: float | None
    facts: Facts
    circuit: str
    problem: str


def rank(  # noqa: PLR0913  the options of one question, all by name
    candidates: Iterable[Candidate],
    *,
    latency_budget_s: float = 1.0,
    gamma: float = 1.0,
    explore: str | None = None,
    mode: str = "utility",
    gate: float | None = None,
    breaker: CircuitBreaker | None = None,
    summaries: Summaries | PerfStore | None = None,
    live: LiveStatistics | bool = True,
    rng: Random | None = None,
    now_s: float | None = None,
    weighing: Weighing | None = None,
) -> list[Ranked]:
    """
    All *candidates*, pairs of an artifact or a tool's name and a similarity, the best choice first.

    *latency_budget_s* halves a tool's utility, *gamma* 0 lets latency count for nothing. *gate*:
    whoever is less similar than the best by more than that comes after all others. *explore*
    ``thompson`` draws success instead of expecting it, by *rng*. *mode* ``similarity`` and
    ``additive`` are for comparison. *breaker* keeps what only fails at the end.

    Facts come from an artifact's ``metadata.perf_summary`` or from *summaries* (a mapping by name
    or a store), joined with those of a running session unless *live* is False. Give a
    `LiveStatistics` to whoever asks often. *now_s* is Unix time. *weighing* has all figures
    of the formula, and is used instead of the options that it holds too.

    ValueError for options that make no sense, TypeError for candidates that are no pairs,
    StoreError when *summaries* can't be read. Equal ones stay in the order in which they came.
    """
    weighing = weighing or Weighing(
        mode=mode,
        latency_budget_s=latency_budget_s,
        gamma=gamma,
        gate=gate,
        explore=explore,
    )
    given = [_parted(place, candidate) for place, candidate in enumerate(candidates)]
    facts = _facts({name: summary for name, _, summary, _ in given}, summaries, live, now_s)
    circuits = {
        name: breaker.look(name, found.calls, found.failed) if breaker is not None else "closed"
        for name, found in facts.items()
    }
    known = [
        _Known(name, artifact, similarity, facts[name], circuits[name], _problem(name, similarity))
        for name, artifact, _, similarity in given
    ]
    drawing = (rng or Random()) if weighing.explore else None  # noqa: S311  no secret
    return _ordered(known, weighing, drawing)


def _parted(place: int, candidate: Any) -> tuple[str, Mapping[str, Any] | None, Any, Any]:
    """Name, artifact, summary and similarity."""
    try:
        tool, similarity = candidate
    except (TypeError, ValueError):
        found = type(candidate).__name__
        raise TypeError(
            f"candidate {place}: found {found}, expected (artifact or name, similarity)"
        ) from None
    if not is_number(similarity):
        similarity = None
    if isinstance(tool, str):
        return tool, None, None, similarity
    if not isinstance(tool, Mapping):
        found = type(tool).__name__
        raise TypeError(f"candidate {place}: found {found}, expected an artifact or a name")
    metadata, name = tool.get("metadata"), tool.get("name")
    summary = metadata.get("perf_summary") if isinstance(metadata, Mapping) else None
    return name if isinstance(name, str) else "", tool, summary, similarity


def _problem(name: str, similarity: float | None) -> str:
    if similarity is None:
        return "its similarity is no finite number"
    return "" if name else "it has no name"


def _facts(
    told: Mapping[str, Any],
    summaries: Summaries | PerfStore | None,
    live: LiveStatistics | bool,
    now_s: float | None,
) -> dict[str, Facts]:
    names = [name for name in told if name]
    stored: Summaries = {}
    if isinstance(summaries, Mapping):
        stored = summaries
    elif summaries is not None:
        stored = summaries.read_perf(names)
    if live is True:
        live = LiveStatistics()
    totals = live.totals(names) if live and names else {}
    fleet = live.fleet() if live and names else {}
    half_life_s = live.half_life_s if live else 1.0
    now_s = time.time() if now_s is None else now_s

    def known(name: str, summary: Any) -> Facts:
        of_all = fleet.get(name)
        if of_all is not None:
            return fleet_facts_of(of_all, totals.get(name), half_life_s=half_life_s, now_s=now_s)
        summary = stored.get(name, summary)
        return facts_of(summary, totals.get(name), half_life_s=half_life_s, now_s=now_s)

    return {name: known(name, summary) for name, summary in told.items()}


def _ordered(known: list[_Known], weighing: Weighing, rng: Random | None) -> list[Ranked]:
    usable = [one for one in known if not one.problem and one.circuit != "open"]
    best = max((one.similarity for one in usable if one.similarity is not None), default=0.0)
    latencies = [one.facts.latency_s for one in usable if one.facts.latency_s is not None]
    ranked: list[tuple[int, float, Ranked]] = []
    for one in known:
        behind = 0.0 if one.similarity is None else best - one.similarity
        weighed = _weighed(one, behind, latencies, weighing, rng)
        beyond = weighing.gate is not None and behind > weighing.gate
        ranked.append((2 if not weighed.usable else int(beyond), -weighed.score, weighed))
    # The sort keeps equal ones as they came.
    ranked.sort(key=lambda place: place[:2])
    return [weighed for _, _, weighed in ranked]


def _weighed(
    one: _Known, behind: float, latencies: list[float], weighing: Weighing, rng: Random | None
) -> Ranked:
    facts = one.facts
    evidence = (facts.successes, facts.failures) if one.circuit != "half-open" else (0.0, 0.0)
    success = weighing.success(*evidence, rng)
    speed = weighing.speed(_latency_s(facts, latencies, weighing, rng))
    is_usable = not one.problem and one.circuit != "open"
    relevance = weighing.relevance(behind) if one.similarity is not None else 0.0
    similarity = 0.0 if one.similarity is None else float(one.similarity)
    return Ranked(
        name=one.name,
        artifact=one.artifact,
        score=weighing.score(similarity, relevance, success, speed) if is_usable else 0.0,
        similarity=None if one.similarity is None else similarity,
        relevance=relevance,
        success=success,
        latency_s=facts.latency_s,
        speed=speed,
        calls=facts.calls,
        source=facts.source,
        usable=is_usable,
        why=_why(one, behind, weighing),
    )


def _latency_s(
    facts: Facts, latencies: list[float], weighing: Weighing, rng: Random | None
) -> float:
    """Its own; else what the others take, the middle or, exploring, any of them."""
    if facts.latency_s is not None:
        return facts.latency_s
    if not latencies:
        return weighing.latency_budget_s
    return rng.choice(latencies) if rng else statistics.median_low(latencies)


# --- in words ------------------------------------------------------------------------------------


def _why(one: _Known, behind: float, weighing: Weighing) -> str:
    if one.problem:
        return f"Left to the end, since {one.problem}."
    if one.circuit == "open":
        return f"Left to the end for a while, since its last calls have failed ({_history(one)})."
    fits = "fits best" if behind <= 0 else f"fits {behind:.2f} less than the best"
    if weighing.gate is not None and behind > weighing.gate:
        return f"Behind all others, since it {fits}, beyond the gate of {weighing.gate:g}."
    if one.circuit == "half-open":
        return f"It {fits} and is tried again after failing ({_history(one)})."
    return f"It {fits}{_history(one, before=', ')}."


def _history(one: _Known, before: str = "") -> str:
    facts = one.facts
    if not facts.calls:
        known = f", as {facts.problem}" if facts.problem else ""
        return f"{before}and no call is known{known}" if before else f"no call is known{known}"
    trials = facts.successes + facts.failures
    # What has decayed to nothing says nothing.
    share = facts.successes / trials if trials > 1e-9 else 1 - facts.failed / facts.calls
    text = f"succeeds in {100 * share:.0f} of 100 calls"
    if facts.latency_s is None:
        return before + text
    return f"{before}{text} and takes {_duration(facts.latency_s)}"


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    if seconds >= 0.001:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.0f} µs"
