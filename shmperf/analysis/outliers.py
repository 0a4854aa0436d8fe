"""Advice from what stands out: calls far beyond the slowest of a thousand, processes that grow."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

from shmperf.shm.record import Outcome

from .evidence import Advice, Evidence, by_tool, named, time_text
from .optimization import Sighting

__all__ = ["memory", "timeout"]

# The slowest of a thousand calls is known when there are a thousand.
_LEAST_KNOWN = 1_000
_SLOWEST = 0.999
# A time-out there ends none of the calls that are only among the slowest.
_FAR = 3
# Where most of the time is that of children, they are what to look at.
_LEAST_OWN = 0.5

# Growth over fewer is that of first calls, of caches that fill and of modules that load.
_LEAST_GROWING = 40
_LEAST_GROWTH_BYTES = 4 << 20
# Of all growth, from quarter to quarter: half of what an even growth has.
_LEAST_RISE = 0.125
_MB = 1 << 20
_MOST_OTHERS = 3


def timeout(evidence: Evidence) -> Iterator[Advice]:
    """
    Tools of which single calls took far longer than all others.

    Far is three times p99.9 of all calls since the last cleanup, the run's among them, and a
    time-out there is what is advised. Saved is what those calls took beyond it. Left out are calls
    that waited for their children, and those that somebody had already given up.
    """
    for tool, calls in by_tool(evidence.calls).items():
        usual = evidence.usual.get(tool) or evidence.totals.get(tool)
        if usual is None or usual.timed < _LEAST_KNOWN:
            continue
        slowest_ns = usual.quantile(_SLOWEST) or 0
        bound_ns = _FAR * slowest_ns
        far = [call for call in calls if _is_far(call, bound_ns, evidence)]
        saves_ns = sum(call.duration_ns - bound_ns for call in far)
        if bound_ns and evidence.is_worth(saves_ns):
            yield Advice(
                kind="timeout",
                tool=tool,
                text=(
                    f"{named(tool)}: {len(far):,} of {len(calls):,} calls took up to "
                    f"{time_text(max(call.duration_ns for call in far))}, while 99.9 % end within "
                    f"{time_text(slowest_ns)}. A time-out of {time_text(bound_ns)} would have "
                    f"ended them {time_text(saves_ns)} earlier."
                ),
                saves_s=saves_ns / 1e9,
                evidence={
                    "calls": len(calls),
                    "beyond": len(far),
                    "known_calls": usual.timed,
                    "p999_ms": slowest_ns / 1e6,
                    "timeout_ms": bound_ns / 1e6,
                    "longest_ms": max(call.duration_ns for call in far) / 1e6,
                    "ids": [f"{call.id:016x}" for call in far[:5]],
                },
            )


def _is_far(call: Sighting, bound_ns: int, evidence: Evidence) -> bool:
    if call.duration_ns <= bound_ns or call.status in (Outcome.TIMEOUT, Outcome.CANCELLED):
        return False
    return evidence.own_ns.get(call.id, 0) >= _LEAST_OWN * call.duration_ns


def memory(evidence: Evidence) -> Iterator[Advice]:
    """
    Tools with whose calls their process grows on and on.

    A process's resident memory is read at each call's end. What it has grown by since the end
    before, of whatever call, is put down to the call that ended. That the least that is held rises,
    from quarter to quarter of a process's calls of the tool, tells it from a start, from a cache
    that has filled and from what comes and goes.

    It is where memory came from the system, not who keeps it: a call may keep what another one had
    asked for and given back. So those that run as often in the same process are named with it. What
    is saved is memory, not time.
    """
    growth: dict[str, dict[int, list[int]]] = defaultdict(dict)
    others: dict[str, Counter[str]] = defaultdict(Counter)
    for pid, calls in _by_process(evidence.calls).items():
        by_name = _grown(calls)
        for tool, grown in by_name.items():
            if _is_steady(grown):
                growth[tool][pid] = grown
                counts = {name: len(own) for name, own in by_name.items() if name != tool}
                others[tool].update(counts)
    for tool, by_pid in growth.items():
        yield _memory(tool, by_pid, others[tool])


def _memory(tool: str, by_pid: Mapping[int, Sequence[int]], others: Counter[str]) -> Advice:
    calls = sum(map(len, by_pid.values()))
    total = sum(map(sum, by_pid.values()))
    as_often = [name for name, count in others.most_common(_MOST_OTHERS) if count >= calls // 2]
    beside = f", or what runs beside it ({', '.join(map(named, as_often))})" if as_often else ""
    return Advice(
        kind="memory",
        tool=tool,
        text=(
            f"{named(tool)}: resident memory grew by {total / _MB:,.1f} MB in {calls:,} calls, "
            f"{total / calls / 1024:,.1f} KB a call, and did not stop. Look for what it{beside} "
            "keeps: lists, caches without a bound, handles."
        ),
        evidence={
            "calls": calls,
            "grown_mb": total / _MB,
            "grown_kb_a_call": total / calls / 1024,
            "processes": len(by_pid),
            "beside": as_often,
        },
    )


def _by_process(calls: Sequence[Sighting]) -> dict[int, list[Sighting]]:
    """Calls whose process's memory is known, in the order of their ends."""
    found: dict[int, list[Sighting]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: call.end_ns):
        if call.memory_bytes is not None:
            found[call.pid].append(call)
    return found


def _grown(calls: Sequence[Sighting]) -> dict[str, list[int]]:
    """By tool, what the process grew by with each call; the first one has nothing before it."""
    found: dict[str, list[int]] = defaultdict(list)
    before = calls[0].memory_bytes or 0
    for call in calls[1:]:
        now = call.memory_bytes or 0
        found[call.tool].append(now - before)
        before = now
    return found


def _is_steady(grown: Sequence[int]) -> bool:
    """True where the least that is held rises from each quarter of the calls to the next."""
    total, count = sum(grown), len(grown)
    if count < _LEAST_GROWING or total < _LEAST_GROWTH_BYTES:
        return False
    held = list(accumulate(grown))
    bounds = [count * part // 4 for part in range(5)]
    least = [min(held[begin:end]) for begin, end in pairwise(bounds)]
    return all(after - before >= _LEAST_RISE * total for before, after in pairwise(least))
