"""
Advice from the calls below one call: many of one tool in a row, and waiting one by one.

    parent  ├──────────────────────────────────────────┤
    children  ├─a─┤├─a─┤├─a─┤  ├──b──┤   ├─a─┤
              in a row         a step    not in that row

Children that began before the one before had ended are no row: they overlap already. What a child
needs of another's result can't be seen; so the sentences say "if", and only what speaks against it
is left out: a failed call (the next may be the answer to it) and a gap longer than either neighbour
(the parent worked with something).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from shmperf.shm.record import Outcome

from .evidence import NO_PARAMETERS, Advice, Evidence, by_tool, named, of_all, time_text
from .optimization import Sighting

__all__ = ["batch", "parallel"]

# Two or three in a row are written out by hand.
_LEAST_ROW = 5
# The shortest of so many calls is near to what a call costs whatever its parameters.
_LEAST_CALLS = 20
# Calls of a row beyond the first of each, over all rows.
_LEAST_SAVED_CALLS = 10
# A call that computes most of its time gains nothing from another thread of one interpreter.
_MOST_CPU_PERCENT = 50.0
_MOST_TOOLS = 10
_UNSEEN_PARENT = "a call that the run has not seen whole"

Row = list[Sighting]
# A parent's tool, None for one that is not known, and a child's.
Edge = tuple[str | None, str]


def batch(evidence: Evidence) -> Iterator[Advice]:
    """
    Tools that one call calls many times in a row, with other parameters each time.

    Saved is, for each row of n calls with parameters of their own, (n - 1) times what a call costs
    at least: the shortest call of that tool in the run. The advice is about the child.
    """
    shortest = {
        tool: min(call.duration_ns for call in calls)
        for tool, calls in by_tool(evidence.calls).items()
        if len(calls) >= _LEAST_CALLS
    }
    rows: dict[Edge, list[Row]] = defaultdict(list)
    for parent, children in evidence.families.items():
        for row in _rows(children):
            own = _distinct(row)
            if len(own) >= _LEAST_ROW and row[0].params != NO_PARAMETERS:
                rows[evidence.tool_of.get(parent), row[0].tool].append(own)
    for (above, tool), found in rows.items():
        saved_calls = sum(len(row) - 1 for row in found)
        saves_ns = saved_calls * shortest.get(tool, 0)
        if saved_calls >= _LEAST_SAVED_CALLS and evidence.is_worth(saves_ns):
            yield _batch(above, tool, found, shortest[tool])


def _batch(above: str | None, tool: str, rows: Sequence[Row], fixed_ns: int) -> Advice:
    calls = sum(map(len, rows))
    whole_ns = sum(call.duration_ns for row in rows for call in row)
    saves_ns = (calls - len(rows)) * fixed_ns
    return Advice(
        kind="batch",
        tool=tool,
        text=(
            f"{named(tool)}: {_parent(above)} calls it {_mean(calls, len(rows))} times in a row, "
            f"{calls:,} calls in {len(rows):,} rows. Each takes {time_text(fixed_ns)} at least; "
            "one call for many parameters would have saved up to "
            f"{of_all(saves_ns, whole_ns)}."
        ),
        saves_s=saves_ns / 1e9,
        evidence={
            "parent": above,
            "rows": len(rows),
            "calls": calls,
            "longest_row": max(map(len, rows)),
            "shortest_call_ms": fixed_ns / 1e6,
            "total_s": whole_ns / 1e9,
        },
    )


def _rows(children: Sequence[Sighting]) -> Iterator[Row]:
    """Calls of one tool, one after the other with no other between; failed ones are left out."""
    row: Row = []
    end_ns = 0
    for child in children:
        goes_on = bool(row) and child.tool == row[0].tool and child.start_ns >= end_ns
        if not goes_on:
            if row:
                yield row
            row = []
        end_ns = max(end_ns, child.end_ns)
        if child.status == Outcome.OK:
            row.append(child)
    if row:
        yield row


def _distinct(row: Sequence[Sighting]) -> Row:
    """Of calls with equal parameters the first: a cache is for the others, or they wait."""
    found = {(call.tool, call.params_hash or call.id): call for call in reversed(row)}
    return sorted(found.values(), key=lambda call: call.start_ns)


class Steps(NamedTuple):
    """Children of one parent's calls that came one after the other."""

    groups: list[Row]

    @property
    def whole_ns(self) -> int:
        """What they took."""
        return sum(call.duration_ns for group in self.groups for call in group)

    @property
    def saves_ns(self) -> int:
        """What they would have taken less, had they overlapped."""
        return self.whole_ns - sum(max(call.duration_ns for call in group) for group in self.groups)

    @property
    def saved_calls(self) -> int:
        """Calls beside the longest of each group."""
        return sum(len(group) - 1 for group in self.groups)


def parallel(evidence: Evidence) -> Iterator[Advice]:
    """
    Parents whose children mostly wait, and wait one after the other.

    Saved is, for each group of such children, the sum of their durations without the longest one.
    Nothing is said of a parent of whose children two overlap anywhere: it knows how. Children that
    computed for half of their time or more are left out, where that is known. Of a parent that
    calls itself its outermost calls count, whose time holds that of the others. The advice is about
    the parent.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    overlapping = set()
    outermost = {
        call.id for calls in by_tool(evidence.calls).values() for call in evidence.outermost(calls)
    }
    for parent, children in evidence.families.items():
        above = evidence.tool_of.get(parent)
        if above is None:
            continue
        if _overlap(children):
            overlapping.add(above)
        if parent not in outermost:
            continue
        groups[above] += [own for group in _groups(children) if len(own := _distinct(group)) > 1]
    for above, found in groups.items():
        steps = Steps(found)
        if above in overlapping or steps.saved_calls < _LEAST_SAVED_CALLS:
            continue
        if evidence.is_worth(steps.saves_ns):
            yield _parallel(above, steps)


def _parallel(above: str, steps: Steps) -> Advice:
    counts = Counter(call.tool for group in steps.groups for call in group)
    calls = sum(counts.values())
    shown = ", ".join(map(named, sorted(tool for tool, _ in counts.most_common(3))))
    shown += f" and {len(counts) - 3} others" if len(counts) > 3 else ""
    return Advice(
        kind="parallel",
        tool=above,
        text=(
            f"{named(above)} waits for calls of {shown} one after the other, "
            f"{_mean(calls, len(steps.groups))} on average. Overlapped they would have saved "
            f"{of_all(steps.saves_ns, steps.whole_ns)}, if they do not need each other's results."
        ),
        saves_s=steps.saves_ns / 1e9,
        evidence={
            "parent": above,
            "tools": dict(counts.most_common(_MOST_TOOLS)),
            "groups": len(steps.groups),
            "calls": calls,
            "total_s": steps.whole_ns / 1e9,
        },
    )


def _groups(children: Sequence[Sighting]) -> Iterator[Row]:
    """Children that could overlap, as far as can be seen."""
    group: Row = []
    for child in children:
        if not _may_overlap(child):
            if group:
                yield group
            group = []
            continue
        if group and _has_thought(group[-1], child):
            yield group
            group = []
        group.append(child)
    if group:
        yield group


def _may_overlap(call: Sighting) -> bool:
    is_waiting = call.cpu_percent is None or call.cpu_percent < _MOST_CPU_PERCENT
    return call.status == Outcome.OK and is_waiting


def _has_thought(before: Sighting, after: Sighting) -> bool:
    """True where the parent did something of its own between two calls."""
    gap_ns = after.start_ns - before.end_ns
    return gap_ns > max(before.duration_ns, after.duration_ns)


def _overlap(children: Sequence[Sighting]) -> bool:
    return any(after.start_ns < before.end_ns for before, after in pairwise(children))


def _parent(above: str | None) -> str:
    return _UNSEEN_PARENT if above is None else named(above)


def _mean(calls: int, groups: int) -> str:
    return f"{calls / groups:.3g}" if groups else "0"
