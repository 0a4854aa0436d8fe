"""
Conditions under which a comparison fails: ``p95>+10%``, ``search:p50>+20%``, ``errors>+1``.

A condition is broken when the whole interval of the change lies beyond its threshold, and that is
sure enough for all tools it was asked of together: what is not sure fails nobody's run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from .diff import QUANTILES, Comparison, change_text
from .quantiles import Estimate

__all__ = ["Broken", "Condition", "ConditionError", "broken", "unmatched"]

_ERRORS = "errors"
_FIELDS = (*QUANTILES, _ERRORS)
_CONDITION = re.compile(r"(?P<field>\w+)\s*>\s*\+?(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>%?)")
_EXPECTED = "expected [TOOL:]FIELD>+LIMIT, as in 'p95>+10%', 'search:p50>+20%' or 'errors>+1'"


class ConditionError(ValueError):
    """A condition that can't be read; the text says what was expected."""


class Broken(msgspec.Struct, kw_only=True):
    """A condition that *tool* breaks; *text* says by how much, and how sure that is."""

    fail_if: str
    tool: str
    text: str


class Condition(NamedTuple):
    """*limit* is a ratio of durations, or a difference of shares; *text* is what the user wrote."""

    tool: str
    field: str
    limit: float
    text: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition in *text*; raises ConditionError."""
        tool, colon, rest = text.strip().rpartition(":")
        found = _CONDITION.fullmatch(rest.strip())
        if found is None or (colon and not tool):
            raise ConditionError(f"condition {text!r}: {_EXPECTED}")
        field, unit = found["field"], found["unit"]
        if field not in _FIELDS:
            raise ConditionError(
                f"condition {text!r}: found {field!r}, expected one of {', '.join(_FIELDS)}"
            )
        if (field == _ERRORS) == bool(unit):
            wanted = "percentage points, without %" if unit else "a percentage, with %"
            raise ConditionError(f"condition {text!r}: expected {wanted}, for {field}")
        share = float(found["number"]) / 100
        if not math.isfinite(share):
            raise ConditionError(f"condition {text!r}: expected a finite number")
        return cls(tool or "*", field, share if field == _ERRORS else 1 + share, text)

    def matches(self, tool: str) -> bool:
        """True when it is a condition of that tool."""
        return tool == self.tool or fnmatchcase(tool, self.tool)

    def change(self, found: Comparison, tool: str, claims: int) -> Estimate | None:
        """What it speaks of, sure enough for one of so many *claims*."""
        if self.field == _ERRORS:
            return found.error_rate(tool, claims)
        return found.percentile(tool, self.field, claims)

    def shown(self, change: Estimate) -> str:
        """*change* for a person."""
        if self.field != _ERRORS:
            return f"{self.field} {change_text(change.value, change.low, change.high)}"
        value, low, high = (
            "?" if one is None else f"{one * 100:+.2f} points"
            for one in (change.value, change.low, change.high)
        )
        return f"{self.field} {value} ({low} to {high})"


def broken(conditions: Iterable[Condition], found: Comparison) -> Iterator[Broken]:
    """Those of *conditions* that a tool breaks, each with each such tool."""
    for condition in conditions:
        tools = [tool for tool in found.both if condition.matches(tool)]
        for tool in tools:
            change = condition.change(found, tool, len(tools))
            if change is not None and change.low is not None and change.low > condition.limit:
                said = f"{tool}: {condition.shown(change)}, over {condition.text}"
                yield Broken(fail_if=condition.text, tool=tool, text=said)


def unmatched(conditions: Iterable[Condition], found: Comparison) -> list[str]:
    """The conditions on tools that were not called on both sides."""
    return [one.text for one in conditions if not any(map(one.matches, found.both))]
