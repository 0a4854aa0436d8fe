"""
The report of a run: what its calls cost, who called whom, what failed, what changed, what to do.

Pure: from what was seen to the structure that is written as JSON. Times are seconds (``_s``),
milliseconds (``_ms``) or ISO 8601, UTC.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from typing import Any

import msgspec

from shmperf.shm.record import OUTCOMES, Outcome

from .advice import Advice, Evidence, advise
from .optimization import Optimization, Run, Sighting
from .totals import Totals

__all__ = ["SCHEMA", "Change", "Report", "Setting", "ToolReport", "empty_report", "report_of"]

SCHEMA = 1
_SLOWEST, _ERRORS, _EDGES = 10, 50, 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAILED = (Outcome.ERROR, Outcome.TIMEOUT)
_MB = 1 << 20
_NAMES = dict(enumerate(OUTCOMES))


class Change(msgspec.Struct, kw_only=True):
    """
    Against the report before: ``p50`` and ``p95`` as a share of what they were (0.2: 20 % more).

    ``error_rate`` is the difference of both shares of failed calls. None where there is nothing to
    compare.
    """

    p50: float | None = None
    p95: float | None = None
    error_rate: float | None = None


class ToolReport(msgspec.Struct, kw_only=True):
    """
    A tool's calls in the run; durations are None where none has ended.

    ``own_s`` is their time without that of their children, ``own_share`` its part of all tools'
    own time. ``memory_mb`` is the most that a process held at a call's end, ``cpu_percent`` the
    mean of the calls for which it is known. ``histogram`` has the durations by bucket, as
    statistics have; what is missing there of ``count`` took no time at all.
    """

    count: int = 0
    avg_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    errors: int = 0
    aborted: int = 0
    own_s: float = 0.0
    own_share: float = 0.0
    memory_mb: float | None = None
    cpu_percent: float | None = None
    change: Change | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    histogram: dict[str, int] | None = None


class EdgeReport(msgspec.Struct, kw_only=True):
    """How often, and for how long in sum, one tool called another; no parent: the program did."""

    parent: str | None
    tool: str
    calls: int
    total_s: float


class SlowCall(msgspec.Struct, kw_only=True):
    """One of the slowest calls."""

    tool: str
    id: str
    parent: str | None
    timestamp: str
    duration_ms: float
    params: str
    status: str


class FailedCalls(msgspec.Struct, kw_only=True):
    """Failed calls of one tool and class."""

    tool: str
    status: str
    err: str | None
    count: int


class Report(msgspec.Struct, kw_only=True):
    """
    All of it; ``previous`` is the name of the report that it is compared with.

    ``ended_by`` is why it ended: ``calls`` or ``time`` reached, ``mode`` switched, the ``session``
    over, or somebody's ``request``. Of ``unseen`` calls only the figures of their tools are known.
    """

    schema: int = SCHEMA
    trigger: str = "manual"
    started: str = ""
    ended: str = ""
    ended_by: str = ""
    calls: int = 0
    unseen: int = 0
    note: str = ""
    previous: str | None = None
    tools: dict[str, ToolReport] = {}
    edges: list[EdgeReport] = []
    slowest: list[SlowCall] = []
    errors: list[FailedCalls] = []
    advice: list[Advice] = []


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What was in force around a run, and what calls usually take; see `Evidence`."""

    usual: Mapping[str, Totals] = {}
    limits: Mapping[str, int] = {}
    every: Mapping[str, int] = {}
    lost: Mapping[str, int] = {}


def empty_report(note: str) -> dict[str, Any]:
    """A report of nothing, as JSON has it; *note* says why."""
    report: dict[str, Any] = msgspec.to_builtins(Report(note=note))
    return report


def report_of(
    run: Run, seen: Optimization, setting: Setting, before: tuple[str, Report] | None
) -> Report:
    """The report of *run*, of which that was *seen*; compared with *before*, by its name."""
    calls = sorted(seen.seen, key=lambda call: (call.start_ns, call.id))
    own_ns = _own_times(calls)
    evidence = Evidence(
        calls=calls,
        unseen=seen.unseen,
        totals=seen.totals.known,
        usual=setting.usual,
        own_ns=own_ns,
        limits=setting.limits,
        every=setting.every,
        lost=setting.lost,
        seconds=max(0, run.ended_ns - run.began_ns) / 1e9,
    )
    return Report(
        trigger=run.trigger,
        started=_iso(run.began_ns),
        ended=_iso(run.ended_ns),
        ended_by=run.reason,
        calls=run.calls,
        unseen=seen.unseen,
        note=_note(run, seen),
        previous=before[0] if before else None,
        tools=_tools(evidence, before[1].tools if before else {}),
        edges=_edges(calls),
        slowest=[_slow(call) for call in nlargest(_SLOWEST, calls, key=_duration)],
        errors=_errors(calls),
        advice=advise(evidence),
    )


def _note(run: Run, seen: Optimization) -> str:
    if not run.calls:
        seconds = max(0, run.ended_ns - run.began_ns) / 1e9
        cut_short = ", which the end of the session cut short" if run.reason == "session" else ""
        return f"no call began and ended in the {seconds:.1f} s of this run{cut_short}"
    if seen.unseen:
        return f"of {seen.unseen:,} calls only the figures of their tools are known"
    return ""


def _tools(evidence: Evidence, before: Mapping[str, ToolReport]) -> dict[str, ToolReport]:
    """By own time, the most first."""
    by_tool: dict[str, list[Sighting]] = defaultdict(list)
    for call in evidence.calls:
        by_tool[call.tool].append(call)
    own = {
        tool: sum(evidence.own_ns.get(call.id, 0) for call in by_tool[tool])
        for tool in evidence.totals
    }
    whole = sum(own.values())
    tools = {}
    for tool in sorted(own, key=lambda name: (-own[name], name)):
        found = _tool(evidence.totals[tool], by_tool[tool])
        found.own_s = own[tool] / 1e9
        found.own_share = own[tool] / whole if whole else 0.0
        found.change = _change(found, before.get(tool))
        tools[tool] = found
    return tools


def _tool(totals: Totals, calls: Sequence[Sighting]) -> ToolReport:
    memory = [call.memory_bytes for call in calls if call.memory_bytes is not None]
    cpu = [call.cpu_percent for call in calls if call.cpu_percent is not None]
    return ToolReport(
        count=totals.count,
        avg_ms=_ms(totals.mean_ns),
        p50_ms=_ms(totals.quantile(0.50)),
        p95_ms=_ms(totals.quantile(0.95)),
        p99_ms=_ms(totals.quantile(0.99)),
        errors=totals.errors,
        aborted=totals.aborted,
        memory_mb=max(memory) / _MB if memory else None,
        cpu_percent=sum(cpu) / len(cpu) if cpu else None,
        min_ms=_ms(totals.min_ns),
        max_ms=_ms(totals.max_ns),
        histogram={str(bucket): n for bucket, n in sorted(totals.histogram.items())},
    )


def _change(now: ToolReport, before: ToolReport | None) -> Change | None:
    if before is None:
        return None
    rates = [one.errors / one.count if one.count else None for one in (now, before)]
    return Change(
        p50=_relative(now.p50_ms, before.p50_ms),
        p95=_relative(now.p95_ms, before.p95_ms),
        error_rate=None if rates[0] is None or rates[1] is None else rates[0] - rates[1],
    )


def _relative(now: float | None, before: float | None) -> float | None:
    return None if now is None or not before else now / before - 1


def _edges(calls: Iterable[Sighting]) -> list[EdgeReport]:
    """Who called whom, by time; calls below one that was not seen are left out."""
    tool_of = {call.id: call.tool for call in calls}
    counts: Counter[tuple[str | None, str]] = Counter()
    total_ns: Counter[tuple[str | None, str]] = Counter()
    for call in calls:
        if call.parent and call.parent not in tool_of:
            continue
        edge = tool_of.get(call.parent), call.tool
        counts[edge] += 1
        total_ns[edge] += call.duration_ns
    return [
        EdgeReport(parent=edge[0], tool=edge[1], calls=counts[edge], total_s=ns / 1e9)
        for edge, ns in total_ns.most_common(_EDGES)
    ]


def _slow(call: Sighting) -> SlowCall:
    return SlowCall(
        tool=call.tool,
        id=f"{call.id:016x}",
        parent=f"{call.parent:016x}" if call.parent else None,
        timestamp=_iso(call.start_ns),
        duration_ms=call.duration_ns / 1e6,
        params=call.params,
        status=_name_of(call.status),
    )


def _errors(calls: Iterable[Sighting]) -> list[FailedCalls]:
    counts = Counter(
        (call.tool, _name_of(call.status), call.err) for call in calls if call.status in _FAILED
    )
    return [
        FailedCalls(tool=tool, status=status, err=err, count=count)
        for (tool, status, err), count in counts.most_common(_ERRORS)
    ]


def _own_times(calls: Sequence[Sighting]) -> dict[int, int]:
    """Each call's duration without the union of its children's intervals, by id; in their order."""
    children: dict[int, list[Sighting]] = defaultdict(list)
    for call in calls:
        if call.parent:
            children[call.parent].append(call)
    return {call.id: _own_time(call, children.get(call.id, ())) for call in calls}


def _own_time(call: Sighting, children: Sequence[Sighting]) -> int:
    covered, at = 0, call.start_ns
    for child in children:
        begin, end = max(at, child.start_ns), min(call.end_ns, child.end_ns)
        if end > begin:
            covered += end - begin
            at = end
    return call.duration_ns - covered


def _duration(call: Sighting) -> int:
    return call.duration_ns


def _name_of(status: int) -> str:
    return _NAMES.get(status, "error")


def _ms(duration_ns: float | None) -> float | None:
    return None if duration_ns is None else duration_ns / 1e6


def _iso(wall_ns: int) -> str:
    return (_EPOCH + timedelta(microseconds=wall_ns // 1000)).isoformat("T", "microseconds")
