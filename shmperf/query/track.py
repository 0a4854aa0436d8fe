"""
What a sink remembers between two looks, two lives and two collectors: every tool's figures.

    News (totals so far) ─► minus the totals last seen ─► PerfState ─► perf_summary
                                            other nodes' PerfState ──┘

Both, the totals last seen and the state made of them, are written in one file as a whole: whoever
is killed between two writes counts again from the older ones, and no call twice or never.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from shmperf.analysis.perfstate import PerfState, forgotten
from shmperf.analysis.stats import News
from shmperf.analysis.totals import Totals, in_seconds
from shmperf.files import reason_of
from shmperf.session.files import write_aside

from .fleetfacts import ToolFacts

__all__ = ["Track"]

# Before it, buckets were of base 2 in nanoseconds.
_SCHEMA = 2
_OLDER = 1


class _Tool(msgspec.Struct, array_like=True):
    seen: Totals
    state: PerfState


class _Written(msgspec.Struct):
    schema: int = _SCHEMA
    forgotten: int = 0
    tools: dict[str, _Tool] = {}


class Track:
    """All tools of one storage; one thread. *clock* gives Unix time in seconds."""

    def __init__(self, half_life_s: float, clock: Callable[[], float]) -> None:
        self._half_life_s = half_life_s
        self._clock = clock
        self._known = _Written()
        self._others: dict[str, PerfState] = {}

    @property
    def half_life_s(self) -> float:
        """Age at which a call counts half."""
        return self._half_life_s

    @property
    def tools(self) -> int:
        """How many tools are known."""
        return len(self._known.tools)

    def follow(self, news: News) -> dict[str, dict[str, object]]:
        """Take in what changed; the summaries that are different now, by tool."""
        now_s = self._clock()
        changed: dict[str, dict[str, object]] = {}
        if news.forgotten != self._known.forgotten:
            # A cleanup: what was known of a tool before is not to be told any more.
            before = self._known.tools
            self._known = _Written(forgotten=news.forgotten)
            changed = {tool: self._summary(tool) for tool in before}
        for tool, totals in news.totals.items():
            known = self._known.tools.get(tool)
            if known is None or _is_less(totals, known.seen):
                known = _Tool(Totals(), PerfState(self._half_life_s))
            known.state.add(totals.minus(known.seen), now_s)
            self._known.tools[tool] = _Tool(totals, known.state)
            changed[tool] = self._summary(tool)
        return changed

    def hear(self, others: Mapping[str, PerfState]) -> dict[str, dict[str, object]]:
        """Let summaries be of all nodes: what *others* know by tool; the summaries that differ."""
        before, self._others = self._others, dict(others)
        names = sorted({*before, *others})
        changed = (tool for tool in names if before.get(tool) != others.get(tool))
        return {tool: self._summary(tool) for tool in changed}

    def summaries(self) -> dict[str, dict[str, object]]:
        """All summaries as they are now."""
        return {tool: self._summary(tool) for tool in self._known.tools}

    def states(self) -> dict[str, PerfState]:
        """What is known of each tool here, without other nodes; not to be changed."""
        return {tool: known.state for tool, known in self._known.tools.items()}

    def _summary(self, tool: str) -> dict[str, object]:
        known, others = self._known.tools.get(tool), self._others.get(tool)
        own = None if known is None else known.state
        state = ToolFacts(own, others).together()
        return forgotten(self._half_life_s) if state is None else state.summary()

    def write(self, path: Path) -> None:
        """Write everything to a private file, as a whole; OSError when that can't be."""
        write_aside(path, msgspec.msgpack.encode(self._known))

    def read(self, path: Path) -> str | None:
        """Take up what was written there; what can't be read is told, and counting starts anew."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{path}: {reason_of(error)}"
        with contextlib.suppress(msgspec.MsgspecError, ValueError):
            written = _decode(content)
            if written.schema == _SCHEMA:
                for known in written.tools.values():
                    # As the options want it from now on; what has decayed has decayed.
                    known.state.half_life_s = self._half_life_s
                self._known = written
                return None
        return f"{path}: found no figures of schema {_SCHEMA}; they start anew"


def _decode(content: bytes) -> _Written:
    """What was written; of the older schema, with its buckets in seconds."""
    raw = msgspec.msgpack.decode(content, type=dict[str, Any])
    if raw.get("schema") == _OLDER:
        older = msgspec.convert(raw["tools"], type=dict[str, tuple[list[Any], list[Any]]])
        for seen, state in older.values():
            _histogram_in_seconds(seen, Totals)
            _histogram_in_seconds(state, PerfState)
        raw |= {"schema": _SCHEMA, "tools": older}
    return msgspec.convert(raw, type=_Written)


def _histogram_in_seconds(row: list[Any], kind: type[msgspec.Struct]) -> None:
    at = kind.__struct_fields__.index("histogram")
    row[at] = in_seconds(msgspec.convert(row[at], type=dict[int, int | float]))


def _is_less(totals: Totals, seen: Totals) -> bool:
    """True when *totals* are not a later state of *seen*: another history has the name now."""
    if totals.count < seen.count or totals.aborted < seen.aborted or totals.errors < seen.errors:
        return True
    return _shrinks(totals.histogram, seen.histogram) or totals.sum_ns < seen.sum_ns


def _shrinks(now: Mapping[int, int], before: Mapping[int, int]) -> bool:
    return any(count > now.get(index, 0) for index, count in before.items())
