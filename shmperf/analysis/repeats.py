"""
Advice from calls with equal parameters: those that a cache saves, those that fail now and then.

Equal are calls of one tool with equal hashes, over all processes (see `optimization`). Calls whose
parameters are not all known have no hash, and calls without parameters nothing that could be
compared: what they answer depends on something else, as of a clock or a queue.

Of a tool that calls itself the time of the outermost calls counts: that of those below is part of
it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from shmperf.shm.record import Outcome

from .evidence import (
    FAILED,
    NO_PARAMETERS,
    Advice,
    Evidence,
    by_tool,
    named,
    of_all,
    time_text,
)
from .optimization import Sighting

__all__ = ["cache", "flaky"]

# Fewer may be a test, or somebody who tried twice.
_LEAST_REPEATS = 10
# A look into a cache, with a key made of the parameters, takes some microseconds.
_LEAST_MEAN_NS = 20_000
# One failure is no rate; these with a success each are.
_LEAST_FAILURES = 5
# What fails more often than it succeeds is broken, and no second try helps.
_MOST_FAILING = 0.5
_EXAMPLES = 3


def cache(evidence: Evidence) -> Iterator[Advice]:
    """
    Tools that were called again with parameters they had already answered.

    Saved is the sum of the durations of all successful calls that began when an equal one had
    already succeeded: by a cache that all processes share. A cache in each process saves what had
    succeeded in that process. Whether the answer would have been the same nobody can see from here:
    the sentence says what it takes for granted.
    """
    for tool, calls in by_tool(evidence.calls).items():
        succeeded = [call for call in calls if call.status == Outcome.OK]
        equal = _equal(succeeded)
        repeats = [again for group in equal.values() for again in _repeats(group)]
        spared = evidence.outermost(repeats)
        saves_ns = _sum_ns(spared)
        if len(repeats) < _LEAST_REPEATS or saves_ns < _LEAST_MEAN_NS * len(spared):
            continue
        if evidence.is_worth(saves_ns):
            yield _cache(evidence, tool, calls, equal)


def _cache(
    evidence: Evidence, tool: str, calls: Sequence[Sighting], equal: dict[str, list[Sighting]]
) -> Advice:
    repeats = [again for group in equal.values() for again in _repeats(group)]
    saves_ns = _sum_ns(evidence.outermost(repeats))
    whole_ns = _sum_ns(evidence.outermost(calls))
    again = Counter(str(call.params_hash) for call in repeats)
    processes = len({call.pid for call in calls})
    alone_ns = _sum_ns(evidence.outermost(_within_processes(equal)))
    text = (
        f"{named(tool)}: {len(repeats):,} of {len(calls):,} calls repeat {_so_many(len(again))}. "
        f"A cache would have saved {of_all(saves_ns, whole_ns)}, if the result depends on the "
        "parameters alone and the call changes nothing."
    )
    if processes > 1:
        text += f" One in each of the {processes} processes would have saved {time_text(alone_ns)}."
    return Advice(
        kind="cache",
        tool=tool,
        text=text,
        saves_s=saves_ns / 1e9,
        evidence={
            "calls": len(calls),
            "repeats": len(repeats),
            "distinct": len(again),
            "total_s": whole_ns / 1e9,
            "processes": processes,
            "saves_in_each_process_s": alone_ns / 1e9,
            "most_repeated": [
                {"params": equal[key][0].params, "calls": len(equal[key])}
                for key, _ in again.most_common(_EXAMPLES)
            ],
        },
    )


def _so_many(distinct: int) -> str:
    return f"{distinct:,} earlier ones" if distinct > 1 else "one that had been answered"


def _equal(calls: Sequence[Sighting]) -> dict[str, list[Sighting]]:
    """Calls of one tool by their parameters; those of which these are not known are left out."""
    found: dict[str, list[Sighting]] = defaultdict(list)
    for call in calls:
        if call.params_hash is not None and call.params != NO_PARAMETERS:
            found[call.params_hash].append(call)
    return found


def _repeats(group: Sequence[Sighting]) -> list[Sighting]:
    """Of equal calls those that began when one had ended."""
    first_end_ns = min((call.end_ns for call in group), default=0)
    return [call for call in group if call.start_ns >= first_end_ns]


def _within_processes(equal: dict[str, list[Sighting]]) -> Iterator[Sighting]:
    """The repeats of what the same process had."""
    for group in equal.values():
        by_pid: dict[int, list[Sighting]] = defaultdict(list)
        for call in group:
            by_pid[call.pid].append(call)
        for own in by_pid.values():
            yield from _repeats(own)


def _sum_ns(calls: Iterable[Sighting]) -> int:
    return sum(call.duration_ns for call in calls)


def flaky(evidence: Evidence) -> Iterator[Advice]:
    """
    Tools that fail with parameters with which they also succeed.

    What always fails with the same parameters is no matter of luck, and of parameters that came
    once nobody knows. Saved is the time of the failed calls that have succeeded otherwise: what is
    lost today, and what a second try costs.
    """
    for tool, calls in by_tool(evidence.calls).items():
        by_luck = [call for group in _equal(calls).values() for call in _by_luck(group)]
        failed = sum(call.status in FAILED for call in calls)
        if len(by_luck) < _LEAST_FAILURES or failed > _MOST_FAILING * len(calls):
            continue
        yield _flaky(evidence, tool, calls, by_luck)


def _by_luck(group: Sequence[Sighting]) -> list[Sighting]:
    """Of equal calls those that failed, if others did not."""
    if not any(call.status == Outcome.OK for call in group):
        return []
    return [call for call in group if call.status in FAILED]


def _flaky(
    evidence: Evidence, tool: str, calls: Sequence[Sighting], by_luck: Sequence[Sighting]
) -> Advice:
    saves_ns = _sum_ns(evidence.outermost(by_luck))
    classes = Counter(call.err or "(no class)" for call in by_luck)
    shown = ", ".join(f"{named(err)} {n:,}" for err, n in classes.most_common(_EXAMPLES))
    failed = sum(call.status in FAILED for call in calls)
    percent = 100 * failed / len(calls)
    return Advice(
        kind="flaky",
        tool=tool,
        text=(
            f"{named(tool)}: {failed:,} of {len(calls):,} calls ({percent:.1f} %) failed, "
            f"{len(by_luck):,} of them with parameters with which others succeeded: "
            f"{shown}. Find out why, or try again where that is safe; these took "
            f"{time_text(saves_ns)}."
        ),
        saves_s=saves_ns / 1e9,
        evidence={
            "calls": len(calls),
            "failed": failed,
            "failed_by_luck": len(by_luck),
            "classes": dict(classes.most_common(_EXAMPLES)),
        },
    )
