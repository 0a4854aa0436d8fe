"""
How long failed calls took, by tool and type of error: what metrics tell apart from what went well.

The totals of a tool hold all of its calls; these are a part of them, so the rest went well. A type
is the class of the exception, or the outcome where there is none. It is bounded: types beyond those
of one tool are `OTHER`, and so is all that fails in tools beyond the number that is kept apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from .totals import Totals

__all__ = ["OTHER", "FailedTimes", "Times", "went_well"]

# As OpenTelemetry's conventions call an ``error.type`` that is none of those known.
OTHER = "_OTHER"

Times = dict[str, dict[str, Totals]]


class FailedTimes:
    """An analysis (see `table`): ``known`` maps a tool and a type of error to its totals."""

    def __init__(self, most: int = 20_000, most_of_a_tool: int = 10) -> None:
        """At most so many groups are kept apart, and so many types of one tool."""
        self.known: Times = {}
        self._new: Times = {}
        self._groups = 0
        self._most = most
        self._most_of_a_tool = most_of_a_tool

    def add(
        self, tool: str, error_type: str, durations_ns: Sequence[int], untimed: int, ended_ns: int
    ) -> None:
        """Count failed calls, *untimed* of them of unknown length; the last ended at *ended_ns*."""
        totals = self._new.setdefault(tool, {}).setdefault(error_type, Totals())
        totals.add(durations_ns, len(durations_ns), ended_ns)
        totals.add_untimed(untimed, untimed, ended_ns)

    def take_delta(self) -> Times | None:
        """What was counted since the last delta."""
        delta, self._new = self._new, {}
        if not delta:
            return None
        self.apply(delta)
        return delta

    def apply(self, delta: Times) -> None:
        """Add *delta*."""
        for tool, types in delta.items():
            for error_type, totals in types.items():
                self._place(tool, error_type).merge(totals)

    def _place(self, tool: str, error_type: str) -> Totals:
        """Where failed calls of that kind are counted."""
        types = self.known.setdefault(tool, {})
        if error_type not in types:
            if len(types) >= self._most_of_a_tool or self._groups >= self._most:
                error_type = OTHER
            if error_type not in types:
                self._groups += 1
                types[error_type] = Totals()
        return types[error_type]

    def clear(self) -> None:
        """Forget everything."""
        self.known, self._new, self._groups = {}, {}, 0

    def state(self) -> Times:
        """All of them."""
        return self.known

    @classmethod
    def restore(cls, state: Times) -> FailedTimes:
        """Groups that were written before."""
        found = cls()
        found.apply(state)
        return found


def went_well(totals: Totals, failed: Mapping[str, Totals]) -> Totals:
    """What is left of a tool's *totals* without those that *failed*."""
    rest = msgspec.structs.replace(totals, histogram=dict(totals.histogram))
    for one in failed.values():
        rest = rest.minus(one)
    return rest
