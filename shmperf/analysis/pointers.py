"""Advice that only points: where time goes, what waits, and what recording itself could do less."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from .evidence import Advice, Evidence, by_tool, named, of_all, time_text
from .optimization import Sighting

__all__ = ["hotspot", "limit", "sample", "wait"]

# A third of all own time, or more, in one tool.
_LEAST_HOT = 0.3
_LEAST_HOT_CALLS = 5
_LEAST_WAITING = 10
# What a recorded call costs at most in normal mode, beyond the call itself, in pure Python: the
# target of issue 12, which the bench measures.
_RECORDING_NS = 1_400
# Recording takes this share of the tool's own time, or more.
_LEAST_RECORDING = 0.05
_LEAST_SAMPLED_CALLS = 500
_SUGGESTED = (10, 100, 1_000)
_RING_FULL = "ring_full"
# Records that reach back less far than this answer nobody who looks.
_SHORT_S = 5.0
_LEAST_TURNS = 5
_LONGER_S = 60.0
_MOST_LIMIT = 100_000


def hotspot(evidence: Evidence) -> Iterator[Advice]:
    """
    Tools that have the largest share of all own time.

    Saved is half of their own time: what whoever makes them twice as fast saves of the whole.
    Nothing where there is one tool only: that it takes all the time is no news.
    """
    own: Counter[str] = Counter()
    for call in evidence.calls:
        own[call.tool] += evidence.own_ns.get(call.id, 0)
    counts = Counter(call.tool for call in evidence.calls)
    if len(counts) < 2:
        return
    for tool, own_ns in own.most_common():
        share = own_ns / evidence.whole_ns if evidence.whole_ns else 0.0
        if share < _LEAST_HOT:
            return
        if counts[tool] >= _LEAST_HOT_CALLS:
            yield Advice(
                kind="hotspot",
                tool=tool,
                text=(
                    f"{named(tool)} has {of_all(own_ns, evidence.whole_ns)} of all own time, in "
                    f"{counts[tool]:,} calls. Twice as fast, it would have saved "
                    f"{time_text(own_ns / 2)}."
                ),
                saves_s=own_ns / 2e9,
                evidence={
                    "calls": counts[tool],
                    "own_s": own_ns / 1e9,
                    "own_share": share,
                },
            )


def wait(evidence: Evidence) -> Iterator[Advice]:
    """
    Tools whose calls were queued for longer than they ran, as their executor or broker says.

    Saved is what they were queued for: up to that, with more workers or fewer tasks.
    """
    for tool, calls in by_tool(evidence.calls).items():
        told = [call for call in calls if _is_told(call)]
        queued_ns = sum((call.queued_ms or 0.0) * 1e6 for call in told)
        ran_ns = sum(call.duration_ns for call in told)
        if len(told) < _LEAST_WAITING or queued_ns <= ran_ns:
            continue
        if evidence.is_worth(queued_ns):
            yield Advice(
                kind="wait",
                tool=tool,
                text=(
                    f"{named(tool)}: {len(told):,} calls were queued for {time_text(queued_ns)} "
                    f"and ran for {time_text(ran_ns)}. More workers, or fewer tasks at a time."
                ),
                saves_s=queued_ns / 1e9,
                evidence={
                    "calls": len(told),
                    "queued_s": queued_ns / 1e9,
                    "ran_s": ran_ns / 1e9,
                    "longest_queued_ms": max(call.queued_ms or 0.0 for call in told),
                },
            )


def _is_told(call: Sighting) -> bool:
    """True for a wait that is a number; tasks write what they like."""
    return call.queued_ms is not None and 0 <= call.queued_ms < math.inf


def limit(evidence: Evidence) -> Iterator[Advice]:
    """
    The tool whose kept records reach back least far: its limit divided by its calls a second.

    One piece at most, for a limit that the run alone has turned over several times.
    """
    short = []
    for tool, totals in evidence.totals.items():
        most = evidence.limits.get(tool, -1)
        if most <= 0 or totals.count < _LEAST_TURNS * most or evidence.seconds <= 0:
            continue
        reach_s = most * evidence.seconds / totals.count
        if reach_s < _SHORT_S:
            short.append((reach_s, tool, most))
    if short:
        reach_s, tool, most = min(short)
        wanted = min(_MOST_LIMIT, _rounded(most * _LONGER_S / reach_s))
        yield Advice(
            kind="limit",
            tool=tool,
            text=(
                f"{named(tool)}: the {most:,} records that are kept reach back "
                f"{time_text(reach_s * 1e9)}. For a minute or more: `tool_limits` of {wanted:,}; "
                "-1 keeps all. Totals are exact in any case."
            ),
            evidence={
                "limit": most,
                "calls": evidence.totals[tool].count,
                "reach_s": reach_s,
                "suggested": wanted,
                "tools_with_short_reach": len(short),
            },
        )


def sample(evidence: Evidence) -> Iterator[Advice]:
    """
    Tools so short that recording all of their calls takes a share of their own time.

    Saved is what recording costs at most, for the calls that would be sampled out. Counts and
    errors stay exact. Where calls of the session found their ring full, the tool with most calls is
    named as well. Nothing for tools that are sampled already.
    """
    full = evidence.lost.get(_RING_FULL, 0)
    by_name = {
        tool: calls
        for tool, calls in by_tool(evidence.calls).items()
        if evidence.every.get(tool, 1) == 1 and len(calls) >= _LEAST_SAMPLED_CALLS
    }
    busiest = max(by_name, key=lambda tool: len(by_name[tool]), default=None)
    for tool, calls in by_name.items():
        own_ns = sum(evidence.own_ns.get(call.id, 0) for call in calls)
        share = _RECORDING_NS * len(calls) / max(own_ns, 1)
        if share >= _LEAST_RECORDING or (full and tool == busiest):
            yield _sample(tool, len(calls), own_ns, full if tool == busiest else 0)


def _sample(tool: str, calls: int, own_ns: int, full: int) -> Advice:
    share = _RECORDING_NS * calls / max(own_ns, 1)
    every = next((n for n in _SUGGESTED if share / n < _LEAST_RECORDING), _SUGGESTED[-1])
    lost = f"{full:,} calls of the session found their ring full. " if full else ""
    return Advice(
        kind="sample",
        tool=tool,
        text=(
            f"{named(tool)} takes {time_text(own_ns / calls)} itself; recording adds up to "
            f"{time_text(_RECORDING_NS)} to each call. {lost}`sampling.tools` of {every} records "
            f"every {every}th, with exact counts and errors."
        ),
        saves_s=_RECORDING_NS * calls * (1 - 1 / every) / 1e9,
        evidence={
            "calls": calls,
            "own_us_a_call": own_ns / calls / 1e3,
            "recording_us_a_call": _RECORDING_NS / 1e3,
            "suggested_every": every,
            _RING_FULL: full,
        },
    )


def _rounded(value: float) -> int:
    """*value* with one figure that is no zero, rounded up."""
    scale = int("1" + "0" * (len(str(int(value))) - 1))
    return math.ceil(value / scale) * scale
