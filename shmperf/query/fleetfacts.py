"""
What other nodes know of tools, as the fleet's sidecar keeps it on this one: a small file to read.

    other nodes ──► sidecar `fleet` ──► <storage>/.shmperf/fleet.msgpack ──► rank, perf_summary

Of each tool it has two figures apart: what all other nodes together know, and what this one's own
calls have shown so far, so that whoever reads may bring its own part up to date and count no call
twice. Times in it are this machine's.

The file is a sidecar's: one that is damaged, of another version or older than `STALE_S` counts as
none, since a tool that was bad an hour ago need not be so now. Its age is taken from the system's
monotonic clock, which goes on for all processes of a boot alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from shmperf.analysis.perfstate import PerfState
from shmperf.files import internals, read_private
from shmperf.session.files import write_aside

__all__ = [
    "FLEET_FACTS",
    "STALE_S",
    "FleetFacts",
    "FleetReader",
    "ToolFacts",
    "copy_of",
    "is_sound",
    "merged",
    "write_facts",
]

FLEET_FACTS = "fleet.msgpack"
STALE_S = 300.0
_VERSION = 1
_MOST_BYTES = 64 << 20
# A clock that was read by another process a moment ago may seem to be ahead.
_AHEAD_S = 1.0
# Where a histogram's buckets may lie, and some more: a boundary beyond would be no number.
_PLACES = range(-1_000, 1_000)


class ToolFacts(msgspec.Struct, array_like=True):
    """What this node's own calls have shown, and those of *nodes* others together."""

    own: PerfState | None = None
    others: PerfState | None = None
    nodes: int = 0

    def together(self) -> PerfState | None:
        """Both in one, which is nobody else's; None where nothing is known."""
        if self.own is None or self.others is None:
            found = self.own or self.others
            return None if found is None else copy_of(found)
        found = copy_of(self.own)
        found.merge(_at_pace(self.others, found.half_life_s))
        return found


class FleetFacts(msgspec.Struct, kw_only=True):
    """All tools; ``written_s`` is the system's monotonic clock, ``nodes`` those that are heard."""

    tools: dict[str, ToolFacts] = {}
    nodes: int = 0
    written_s: float = 0.0
    version: int = _VERSION


_decode = msgspec.msgpack.Decoder(FleetFacts).decode


def write_facts(storage: Path, facts: FleetFacts) -> None:
    """Replace the file as a whole, private; OSError."""
    write_aside(internals(storage) / FLEET_FACTS, msgspec.msgpack.encode(facts))


class FleetReader:
    """Reads the file of one storage when it has changed; one thread."""

    def __init__(self, storage: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = internals(storage) / FLEET_FACTS
        self._clock = clock
        self._identity: tuple[int, ...] = ()
        self._known: FleetFacts | None = None

    def read(self) -> FleetFacts | None:
        """What is known by now; None where nothing is, or it is too old."""
        try:
            found = self._path.lstat()
            identity = found.st_ino, found.st_mtime_ns, found.st_size
            if identity != self._identity:
                self._known = _facts_in(read_private(self._path, _MOST_BYTES))
                self._identity = identity
        except OSError:
            return None
        known = self._known
        if known is None or not -_AHEAD_S <= self._clock() - known.written_s <= STALE_S:
            return None
        return known

    @property
    def identity(self) -> tuple[int, ...]:
        """Another one after each change that `read` has seen."""
        return self._identity


def _facts_in(content: bytes) -> FleetFacts | None:
    try:
        found = _decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    states = [one for tool in found.tools.values() for one in (tool.own, tool.others) if one]
    return found if found.version == _VERSION and all(map(is_sound, states)) else None


def is_sound(state: PerfState) -> bool:
    """False for what no calls can have left behind."""
    numbers = [
        *(state.total_ms, state.most_ms, state.finished_weight, state.failed_weight),
        *(state.aborted_weight, state.weighted_ms, state.zero_weight, *state.histogram.values()),
        *(float(state.calls), float(state.errors), float(state.aborted), state.at_s, state.since_s),
    ]
    return (
        all(place in _PLACES for place in state.histogram)
        and all(math.isfinite(one) and one >= 0 for one in numbers)
        and state.half_life_s > 0
        and state.least_ms >= 0
    )


def copy_of(state: PerfState) -> PerfState:
    """One that may be changed while *state* is not."""
    return msgspec.structs.replace(state, histogram=dict(state.histogram))


def merged(states: Mapping[str, PerfState], half_life_s: float) -> PerfState:
    """What all *states*, by whoever has them, show together."""
    found = PerfState(half_life_s)
    for state in states.values():
        found.merge(_at_pace(state, half_life_s))
    return found


def _at_pace(state: PerfState, half_life_s: float) -> PerfState:
    """What has decayed has decayed; from now on as here."""
    if state.half_life_s == half_life_s:
        return state
    return msgspec.structs.replace(state, half_life_s=half_life_s)
