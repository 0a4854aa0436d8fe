"""An earlier run, and how this one compares with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from shmperf.analysis.conditions import Condition, broken, unmatched
from shmperf.analysis.diff import Against, Change, Comparison, change_text, compare
from shmperf.analysis.totals import Totals
from shmperf.commands.sources import read_source
from shmperf.query.changed import measured

__all__ = ["Past"]

_SHOWN = 10


class Past:
    """What was measured in *source*; raises StoreError or ConditionError for what can't be read."""

    def __init__(self, source: str, conditions: Iterable[str]) -> None:
        self._conditions = [Condition.parse(text) for text in conditions]
        self._source = source
        self._then = read_source(source)
        self._found: Comparison | None = None

    def compare(self, totals: Mapping[str, Totals]) -> list[str]:
        """Take in what was measured now; a line for each condition that is broken."""
        self._found = compare(self._then, measured(totals))
        return [one.text for one in broken(self._conditions, self._found)]

    def found(self) -> Against | None:
        """Both runs side by side, by the earlier one's name; None before they were compared."""
        return None if self._found is None else Against(self._source, self._found)

    def unmatched(self) -> list[str]:
        """The conditions on tools that were not called in both runs."""
        return [] if self._found is None else unmatched(self._conditions, self._found)

    def lines(self) -> Iterator[str]:
        """What got slower, the most first, and how many did not."""
        if self._found is None:
            return
        verdicts = {tool: self._found.verdict(tool) for tool in self._found.tools}
        said = [verdict for verdict in verdicts.values() if verdict != "slower"]
        counts = ", ".join(f"{said.count(one):,} {one}" for one in dict.fromkeys(sorted(said)))
        slower = [tool for tool, verdict in verdicts.items() if verdict == "slower"]
        changes = {tool: self._found.of(tool).change for tool in slower}
        slower.sort(key=lambda tool: -_ratio(changes[tool].p50))
        rest = f"; {counts}" if counts else ""
        yield f"against {self._source}: {len(slower):,} slower{rest}"
        for tool in slower[:_SHOWN]:
            yield f"  {tool}: p50 {_shown(changes[tool].p50)}, p95 {_shown(changes[tool].p95)}"


def _ratio(change: Change | None) -> float:
    return 0.0 if change is None else change.ratio


def _shown(change: Change | None) -> str:
    if change is None:
        return "?"
    return change_text(change.ratio, change.low, change.high)
