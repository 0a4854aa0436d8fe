"""Budgets of tools: what their statistics may be at most, ``search:p95=200ms,errors=0``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from shmperf.views.formatting import duration

__all__ = ["Budget", "BudgetError", "broken", "unmatched"]

# The field, and its key in the statistics.
_DURATIONS = {
    "mean": "avg_duration_s",
    "p50": "p50_s",
    "p95": "p95_s",
    "p99": "p99_s",
    "max": "max_duration_s",
}
_COUNTS = {"count": "count", "errors": "errors", "aborted": "aborted"}
_RATE = "error_rate"
_FIELDS = (*_DURATIONS, *_COUNTS, _RATE)
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(\D*)")


class BudgetError(ValueError):
    """A budget that can't be read; the text says what was expected."""


class Budget(NamedTuple):
    """*limit* is in seconds, a number of calls or a fraction; *text* is what the user wrote."""

    tool: str
    field: str
    limit: float
    text: str

    @classmethod
    def parse(cls, line: str) -> Iterator[Budget]:
        """The budgets of a line; raises BudgetError."""
        tool, colon, fields = line.strip().rpartition(":")
        if not colon or not tool:
            raise BudgetError(f"budget {line!r}: expected TOOL:FIELD=LIMIT")
        for part in fields.split(","):
            field, equals, limit = (text.strip() for text in part.partition("="))
            if not equals or field not in _FIELDS:
                raise BudgetError(
                    f"budget {line!r}: found {part.strip()!r}, expected FIELD=LIMIT with a field "
                    f"of {', '.join(_FIELDS)}"
                )
            yield cls(tool, field, _limit(line, field, limit), f"{tool}:{field}={limit}")

    def matches(self, tool: str) -> bool:
        """True when it is a budget of that tool."""
        return tool == self.tool or fnmatchcase(tool, self.tool)

    def value(self, row: Mapping[str, Any]) -> float | None:
        """What the tool's statistics say of its field; None when nothing is known."""
        if self.field == _RATE:
            calls = row["count"] + row["aborted"]
            return (row["errors"] + row["aborted"]) / calls if calls else None
        found: float | None = row[(_DURATIONS | _COUNTS)[self.field]]
        return found

    def shown(self, value: float) -> str:
        """A value of its field, for a person."""
        if self.field == _RATE:
            return f"{value:.2%}"
        if self.field in _COUNTS:
            return f"{value:,.0f}"
        return duration(value)


def broken(budgets: Iterable[Budget], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each budget that a tool has exceeded."""
    lines = []
    for budget in budgets:
        for tool, row in rows.items():
            value = budget.value(row) if budget.matches(tool) else None
            if value is not None and value > budget.limit:
                lines.append(f"{tool}: {budget.field} {budget.shown(value)}, over {budget.text}")
    return lines


def unmatched(budgets: Iterable[Budget], rows: Mapping[str, object]) -> list[str]:
    """The budgets of tools that were never called."""
    return [budget.text for budget in budgets if not any(map(budget.matches, rows))]


def _limit(line: str, field: str, text: str) -> float:
    found = _NUMBER.fullmatch(text)
    number, unit = (float(found[1]), found[2].strip()) if found else (0.0, None)
    if field in _DURATIONS and unit in _UNITS_S:
        return number * _UNITS_S[unit]
    if field in _COUNTS and unit == "":
        return number
    if field == _RATE and unit in ("", "%"):
        return number / 100 if unit else number
    if field in _DURATIONS:
        expected = f"a duration with one of {', '.join(_UNITS_S)}"
    else:
        expected = "a percentage or a fraction" if field == _RATE else "a number"
    raise BudgetError(f"budget {line!r}: found {text!r}, expected {expected} for {field}")
