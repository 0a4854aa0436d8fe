"""
The table of analyses: what is made of drained calls, a row each.

    add (ingest) ─► take_delta ─► a frame of the journal ─► apply (after a restart)
                        state ─► a snapshot ──────────────► restore

An analysis is pure and one file; its delta travels in frames and its state in snapshots, both under
the key of its row: name and version. What stands under a key that no row here has was written by
another version of the program: it is carried along unchanged, until somebody knows it, or a cleanup
forgets everything. What can't be read of one analysis costs none of the others anything.

A live analysis holds its change as soon as `take_delta` has returned it; `apply` is for others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from .alerts import Alerts, AlertsDelta, AlertsState
from .anomaly import Finding, Findings
from .calltree import CallTree
from .changes import Changes, Watched
from .errorgroups import Bug, ErrorGroups
from .exemplars import Exemplar, Exemplars, ExemplarsDelta
from .extremes import Extremes, ExtremesState, Range
from .failedtimes import FailedTimes, Times
from .failures import Failure, Failures
from .intervals import Intervals, IntervalsDelta, IntervalsState
from .optimization import Optimization, OptimizationDelta, OptimizationState
from .silences import Rhythm, Silences
from .tooltotals import ToolTotals
from .totals import Totals
from .treestate import TreeDelta, TreeState

__all__ = ["ANALYSES", "Analyses", "Analysis", "Row", "Written"]

# What a snapshot holds under a key: a state, and deltas behind it that nobody here could apply.
Written: TypeAlias = tuple[msgspec.Raw, list[msgspec.Raw]]
A = TypeVar("A")

_NONE = msgspec.msgpack.encode(None)
_DAMAGE = (msgspec.MsgspecError, ValueError, TypeError, LookupError)
_encode = msgspec.msgpack.Encoder().encode


class Analysis(Protocol):
    """What the journal asks of an analysis; how calls are added is between it and ingest."""

    def take_delta(self) -> Any:
        """What has changed since the last delta, None when nothing has."""

    def apply(self, delta: Any) -> None:
        """Make the change of *delta*, which is taken over."""

    def clear(self) -> None:
        """Forget everything."""

    def state(self) -> Any:
        """All that a restart needs, once the last delta is taken."""

    @classmethod
    def restore(cls, state: Any) -> Analysis:
        """The analysis in *state*, which is taken over; it has nothing to tell."""


class Row(NamedTuple):
    """An analysis and the types of its delta and its state; a new *version* for each new form."""

    name: str
    version: int
    kind: type[Analysis]
    delta: Any
    state: Any

    @property
    def key(self) -> str:
        """What its delta and its state stand under."""
        return f"{self.name}.{self.version}"


ANALYSES: tuple[Row, ...] = (
    Row("totals", 1, ToolTotals, dict[str, Totals], dict[str, Totals]),
    Row("intervals", 1, Intervals, IntervalsDelta, IntervalsState),
    Row("tree", 1, CallTree, TreeDelta, TreeState),
    Row("errors", 1, ErrorGroups, dict[str, Bug], dict[str, Bug]),
    Row("failures", 1, Failures, list[Failure], list[Failure]),
    Row("failedtimes", 1, FailedTimes, Times, Times),
    Row("exemplars", 1, Exemplars, ExemplarsDelta, dict[str, list[Exemplar]]),
    Row("extremes", 1, Extremes, dict[str, dict[str, Range] | None], ExtremesState),
    Row("unusual", 1, Findings, list[Finding], list[Finding]),
    Row("changes", 1, Changes, dict[str, Watched | None], dict[str, Watched]),
    Row("silences", 1, Silences, dict[str, Rhythm | None], dict[str, Rhythm]),
    Row("alerts", 1, Alerts, AlertsDelta, AlertsState),
    Row("optimization", 1, Optimization, OptimizationDelta, OptimizationState),
)


class Analyses:
    """All analyses of one session at work; the collector's thread."""

    def __init__(self) -> None:
        self._rows = {row.key: row for row in ANALYSES}
        self._live: dict[str, Analysis] = {row.key: row.kind() for row in ANALYSES}
        # The same by kind: ingest asks for some with each batch.
        self._kinds: dict[type, Any] = {type(found): found for found in self._live.values()}
        self._carried: dict[str, Written] = {}

    def of(self, kind: type[A]) -> A:
        """The analysis of that *kind*; LookupError when no row has it."""
        found: A = self._kinds[kind]
        return found

    def take_deltas(self) -> dict[str, msgspec.Raw]:
        """What has changed since the last time, as a frame holds it."""
        found = {}
        for key, analysis in self._live.items():
            delta = analysis.take_delta()
            if delta is not None:
                found[key] = msgspec.Raw(_encode(delta))
        return found

    def apply(self, deltas: Mapping[str, msgspec.Raw]) -> str | None:
        """Make the changes of a frame; what of them can't be read, in a line."""
        damage = None
        for key, raw in deltas.items():
            analysis = self._live.get(key)
            if analysis is None:
                # A copy: the original would keep the memory of its whole frame.
                known = self._carried.setdefault(key, (msgspec.Raw(_NONE), []))
                known[1].append(raw.copy())
                continue
            try:
                analysis.apply(_decoder(self._rows[key].delta).decode(raw))
            except _DAMAGE as error:
                damage = damage or f"a change of {key} can't be read: {error}"
        return damage

    def clear(self) -> None:
        """Forget everything."""
        for analysis in self._live.values():
            analysis.clear()
        self._carried.clear()

    def state(self) -> dict[str, Written]:
        """What a snapshot holds, once all deltas are taken."""
        live: dict[str, Written] = {
            key: (msgspec.Raw(_encode(analysis.state())), [])
            for key, analysis in self._live.items()
        }
        return live | self._carried

    def restore(self, written: Mapping[str, Written]) -> str | None:
        """Take up what `state` has written; what of it can't be read, in a line."""
        damage = None
        for key, (state, deltas) in written.items():
            row = self._rows.get(key)
            if row is None:
                self._carried[key] = state.copy(), [raw.copy() for raw in deltas]
                continue
            try:
                if bytes(state) != _NONE:
                    found = row.kind.restore(_decoder(row.state).decode(state))
                    self._live[key] = self._kinds[row.kind] = found
            except _DAMAGE as error:
                damage = damage or f"what is known of {key} can't be read: {error}"
                continue
            for raw in deltas:
                damage = self.apply({key: raw}) or damage
        return damage


@cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)
