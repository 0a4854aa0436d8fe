"""What an alert says: its line for people, its evidence, and how severe it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from shmperf.shm.record import OUTCOMES, SUMMARY_CHARACTERS, Call, Outcome

from .changes import Change
from .growth import Grown
from .silences import Silent

__all__ = [
    "Said",
    "Stuck",
    "aborted_said",
    "change_said",
    "end_evidence",
    "lost_said",
    "memory_said",
    "released_said",
    "silence_said",
    "stuck_said",
]

_FOUR_TIMES, _A_FOURTH, _TEN_TIMES, _A_HUNDREDTH = 4.0, 0.25, 10.0, 0.01
_MOST_NAME, _MOST_CHAIN, _MOST_PIDS = 100, 20, 100
_TWICE = 2.0
_MIB = 1 << 20


class Said(NamedTuple):
    """How severe it is, the line, and what is behind it."""

    severity: Literal["warning", "critical"]
    text: str
    evidence: dict[str, Any]


class Stuck(NamedTuple):
    """The oldest open call of a tool that is stuck, its callers from near to far; seconds."""

    id: int
    pid: int
    running_s: float
    chain: Sequence[str]


def change_said(change: Change) -> Said:
    """What is said of *change*, the begin of a tool's latency or errors."""
    tool = short_name(change.tool)
    if change.what in ("p50", "p95"):
        times = change.now / change.usual if change.usual > 0 else 0.0
        text = (
            f"{tool}: {change.what} is {_duration(change.now)}, usual is "
            f"{_duration(change.usual)} ({times:.1f} times)"
        )
        is_critical = times >= _FOUR_TIMES
    else:
        noun = "calls fail" if change.what == "errors" else "calls are far slower than usual"
        text = f"{tool}: {change.now:.1%} of {noun}, usual is {change.usual:.1%}"
        is_critical = change.what == "errors" and change.now >= _A_FOURTH
    evidence = {
        "what": change.what,
        "usual": change.usual,
        "now": change.now,
        "unit": "s" if change.what in ("p50", "p95") else "share",
        "calls": change.calls,
        "noticed_s": change.at_s - change.since_s,
    }
    return Said("critical" if is_critical else "warning", text, evidence)


def end_evidence(change: Change) -> dict[str, Any]:
    """What the end of a tool's latency or errors adds to the evidence."""
    if not change.calls:
        return {"reason": change.reason}
    return {"reason": change.reason, "in_the_end": change.now}


def stuck_said(tool: str, count: int, limit_s: float, oldest: Stuck) -> Said:
    """What is said of *count* open calls of *tool* that run for longer than *limit_s*."""
    noun = "call is" if count == 1 else "calls are"
    chain = [short_name(name) for name in oldest.chain[:_MOST_CHAIN]]
    called = f", called by {' < '.join(chain)}" if chain else ""
    text = (
        f"{short_name(tool)}: {count} {noun} open for longer than {_duration(limit_s)}; the oldest "
        f"({oldest.id:016x} in {oldest.pid}) for {_duration(oldest.running_s)}{called}"
    )
    evidence = {
        "calls": count,
        "limit_s": limit_s,
        "id": f"{oldest.id:016x}",
        "pid": oldest.pid,
        "running_s": oldest.running_s,
        "chain": chain,
        # Of an open call they are in its own process only; its end tells.
        "params": None,
    }
    is_critical = oldest.running_s >= _TEN_TIMES * limit_s
    return Said("critical" if is_critical else "warning", text, evidence)


def released_said(call: Call) -> tuple[dict[str, Any], str]:
    """What the end of a stuck *call* adds to its alert's evidence and text."""
    outcome = OUTCOMES[min(call.status, Outcome.ABORTED)]
    params = call.params[:SUMMARY_CHARACTERS]
    is_cut = call.truncated or len(params) < len(call.params)
    evidence = {
        "params": params,
        "params_cut": is_cut,
        "outcome": outcome,
        "took_s": None if call.duration_ns is None else call.duration_ns / 1e9,
    }
    if call.err:
        evidence["err"] = short_name(call.err)
    took = "" if call.duration_ns is None else f" after {_duration(call.duration_ns / 1e9)}"
    text = f"; it ended{took} ({outcome}), called with {params}{'…' if is_cut else ''}"
    return evidence, text


def aborted_said() -> tuple[dict[str, Any], str]:
    """What is added for a stuck call whose process died: nobody knows its parameters."""
    return {"outcome": "aborted"}, "; its process died"


def lost_said(new: Mapping[str, int], begun: int) -> Said:
    """What is said of lost calls by cause, *new* since the last look, while *begun* began."""
    count = sum(new.values())
    causes = ", ".join(f"{cause} {number:,}" for cause, number in sorted(new.items()))
    is_critical = count >= _A_HUNDREDTH * max(begun, count)
    text = f"{count:,} calls were lost ({causes})"
    return Said("critical" if is_critical else "warning", text, {"lost": dict(new), "begun": begun})


def silence_said(silent: Silent, now_s: float) -> Said:
    """What is said of a tool that is called no more."""
    silent_s = now_s - silent.since_s
    text = (
        f"{short_name(silent.tool)}: no call has ended for {_duration(silent_s)}, usual are gaps "
        f"of {_duration(silent.usual_s)} at most"
    )
    evidence = {
        "silent_s": silent_s,
        "longest_gap_s": silent.usual_s,
        "limit_s": silent.limit_s,
    }
    return Said("warning", text, evidence)


def memory_said(pid: int, grown: Grown, pids: Sequence[int]) -> Said:
    """What is said of the worker *pid*, the fastest of *pids* that grow."""
    an_hour = grown.slope * 3_600 / _MIB
    others = f", and {len(pids) - 1} more" if len(pids) > 1 else ""
    text = (
        f"process {pid}{others}: resident memory grows steadily, from "
        f"{grown.from_bytes / _MIB:,.0f} to {grown.to_bytes / _MIB:,.0f} MiB in "
        f"{_duration(grown.length_s)} ({an_hour:,.0f} MiB an hour)"
    )
    evidence = {
        "pid": pid,
        "from_bytes": round(grown.from_bytes),
        "to_bytes": round(grown.to_bytes),
        "mib_an_hour": an_hour,
        "length_s": grown.length_s,
        "pids": list(pids[:_MOST_PIDS]),
    }
    has_doubled = grown.to_bytes >= _TWICE * grown.from_bytes
    return Said("critical" if has_doubled else "warning", text, evidence)


def short_name(name: str) -> str:
    """A tool's *name* in a sentence, which goes to logs and terminals: on one line, and cut."""
    name = "".join(one if one.isprintable() else "?" for one in name).strip() or "(no name)"
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 1]}…"


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1e3 else f"{seconds:,.0f} s"
    return f"{seconds * 1e9:.0f} ns"
