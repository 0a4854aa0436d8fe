"""
What each node knows of tools, for all the others: a tool that broke on one is seen by all.

    own totals ──► Track ──► PerfState by tool ──► the node's own key ───┐
                     │                                                   ▼
                     │      all others' keys, those that have changed ◄── broker
                     ▼                     ▼
              <storage>/.shmperf/fleet.msgpack: own and others' figures apart (see `fleetfacts`)

A node's figures come from its own calls alone and are read from its own key alone, so nobody's
count twice. They go out when they have changed, at most once in `_LEAST_S` (more seldom among more
than `_NODES_A_SECOND`), and beside them a beat each `_BEAT_S` says that the node lives: small, so
that one at rest costs nothing. Who was silent for `STALE_S`, by this process's own clock, is left
out until it is heard again; its calls stay in the statistics, which are history.

Clocks of machines may be minutes apart, and figures decay with time. So a node's times are sent
with what its clock showed then; whoever receives them takes what passed since from the broker's
clock, and moves them to its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from heapq import nlargest
from typing import Any, NamedTuple

import msgspec

from shmperf.analysis.perfstate import PerfState
from shmperf.analysis.stats import News
from shmperf.errors import FormatError, SessionError
from shmperf.files import internals
from shmperf.query.fleetfacts import (
    STALE_S,
    FleetFacts,
    ToolFacts,
    is_sound,
    merged,
    write_facts,
)
from shmperf.query.track import Track
from shmperf.session.messages import Changes, SidecarReport
from shmperf.storage.codecs import CODECS

from .engine import Entry, Listing
from .ownkey import OwnKey
from .pieces import LARGEST_BYTES
from .teller import Teller

__all__ = ["Clocks", "Facts", "NodeFacts", "Others", "decode_facts", "encode_facts"]

_VERSION = 1
_BUCKET, _BEAT = "facts", ".beat"
_LEAST_S, _BEAT_S = 1.0, 10.0
_NODES_A_SECOND = 50
_MOST_TOOLS = 2_000
_MOST_BYTES = 16 << 20
_FIGURES = "fleet-figures"
# Files are written in a small part of the time, however many tools there are.
_WRITE_SHARE = 50
# Of nodes whose keys can't be read, the last is told.
_LONGEST_TEXT = 300
_ZSTD = CODECS[0]


class Clocks(NamedTuple):
    """Seconds that never go back, and Unix seconds."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


_CLOCKS = Clocks()


class NodeFacts(msgspec.Struct, kw_only=True):
    """A node's figures by tool; ``now_s`` is what its clock showed, and means nothing elsewhere."""

    node: str
    now_s: float
    tools: dict[str, PerfState] = {}
    version: int = _VERSION


_decode = msgspec.msgpack.Decoder(NodeFacts).decode


def encode_facts(node: str, states: dict[str, PerfState], now_s: float) -> bytes:
    """The figures as a value that a broker takes; of very many tools those called last."""
    most = _MOST_TOOLS
    compress = _ZSTD.compressor()
    while True:
        kept = nlargest(most, states.items(), key=lambda one: one[1].at_s)
        facts = NodeFacts(node=node, now_s=now_s, tools=dict(kept))
        content = compress(msgspec.msgpack.encode(facts))
        if len(content) <= LARGEST_BYTES:
            return content
        most //= 2


def decode_facts(content: bytes) -> NodeFacts:
    """What `encode_facts` has written on some machine; FormatError for anything else."""
    try:
        found = _decode(_ZSTD.expand(content, _MOST_BYTES))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FormatError(f"found no facts: {error}") from None
    if found.version != _VERSION:
        raise FormatError(f"found facts of version {found.version}, expected {_VERSION}")
    if not all(map(is_sound, found.tools.values())):
        raise FormatError("found facts that no calls can have left behind")
    return found


def _moved(state: PerfState, by_s: float, now_s: float) -> PerfState:
    """*state* with its times as this machine's clock has them, and none in the future."""
    at_s = min(max(state.at_s + by_s, 0.0), now_s)
    since_s = min(max(state.since_s + by_s, 0.0), at_s)
    return msgspec.structs.replace(state, at_s=at_s, since_s=since_s)


def _origin_in(key: str) -> str:
    """Of which storage a key tells."""
    return key.partition(".")[2]


class _Heard:
    """Another node: when it was heard last, by the monotonic clock here, and what it knows."""

    def __init__(self) -> None:
        self.at_s = float("-inf")
        self.tools: dict[str, PerfState] = {}


class Others:
    """What is heard of all nodes but one; one thread."""

    def __init__(self, key: str, clocks: Clocks = _CLOCKS) -> None:
        """All but that of *key*."""
        self.problem: str | None = None
        self._key = key
        self._clocks = clocks
        self._heard: dict[str, _Heard] = {}

    def take(self, listing: Listing) -> None:
        """Take in what has changed."""
        for key in listing.gone:
            self._heard.pop(key, None)
        for entry in listing.entries:
            key = entry.key.removesuffix(_BEAT)
            if key == self._key:
                continue
            age_s = max(0.0, (listing.now_ns - entry.written_ns) / 1e9)
            heard = self._heard.setdefault(key, _Heard())
            heard.at_s = max(heard.at_s, self._clocks.monotonic() - age_s)
            if entry.key == key:
                self._take_facts(heard, entry, age_s)

    def _take_facts(self, heard: _Heard, entry: Entry, age_s: float) -> None:
        try:
            found = decode_facts(entry.value)
        except FormatError as error:
            self.problem = f"facts of {entry.key}: {error}"[:_LONGEST_TEXT]
            return
        now_s = self._clocks.wall()
        by_s = now_s - age_s - found.now_s
        heard.tools = {tool: _moved(state, by_s, now_s) for tool, state in found.tools.items()}

    def alive(self) -> dict[str, _Heard]:
        """Those that were heard of late, by key; who was silent for long is forgotten."""
        oldest_s = self._clocks.monotonic() - STALE_S
        self._heard = {key: one for key, one in self._heard.items() if one.at_s >= oldest_s}
        return self._heard

    def counted(self) -> dict[str, _Heard]:
        """Those who are alive, each storage once: by the name that it was heard under last."""
        newest: dict[str, str] = {}
        alive = self.alive()
        for key, heard in sorted(alive.items()):
            origin = _origin_in(key)
            if origin not in newest or heard.at_s > alive[newest[origin]].at_s:
                newest[origin] = key
        newest.pop(_origin_in(self._key), None)
        return {key: alive[key] for key in newest.values()}

    def together(self, half_life_s: float) -> dict[str, tuple[PerfState, int]]:
        """By tool: what all of them know, and how many know it."""
        by_tool: dict[str, dict[str, PerfState]] = {}
        for key, heard in sorted(self.counted().items()):
            for tool, state in heard.tools.items():
                by_tool.setdefault(tool, {})[key] = state
        return {
            tool: (merged(states, half_life_s), len(states)) for tool, states in by_tool.items()
        }


class Facts:
    """A node's part in it: told, heard, and written for those who rank; a sidecar's thread."""

    def __init__(self, teller: Teller, clocks: Clocks = _CLOCKS) -> None:
        self._teller, self._clocks = teller, clocks
        self._own = OwnKey(teller.engine, _BUCKET, teller.key)
        self._others = Others(teller.key, clocks)
        self._track = Track(teller.options.rag.half_life_seconds, clocks.wall)
        self._track.read(internals(teller.storage) / _FIGURES)
        self._revision = -1
        self._heard_to = 0
        self._due_s = self._beat_s = self._write_s = float("-inf")
        self._is_changed, self._is_unwritten = True, True

    @property
    def problem(self) -> str | None:
        """What is wrong with what is told or heard, if anything is."""
        if self._own.strangers:
            return (
                f"another process writes the facts of {self._teller.key}: two nodes of one name on"
                f" copies of one storage, seen {self._own.strangers} times"
            )
        return self._others.problem

    def step(self, _: SidecarReport) -> None:
        """Tell, hear, write, each when it is due; raises what asking and the engine raise."""
        now_s = self._clocks.monotonic()
        if now_s < self._due_s:
            return
        # What all tell to all grows with the square of them.
        self._due_s = now_s + max(_LEAST_S, len(self._others.alive()) / _NODES_A_SECOND)
        self._follow()
        try:
            self._tell(now_s)
            self._hear()
        finally:
            # Without the broker what is known grows old, and the file says so.
            self._write(now_s)

    def finish(self, _: SidecarReport) -> None:
        """Nothing: what a node knew ages out where it is not told any more."""

    def _follow(self) -> None:
        try:
            news = msgspec.convert(self._teller.ask(Changes(self._revision)), News)
        except msgspec.ValidationError as error:
            raise SessionError(f"the collector's answer can't be read: {error}") from None
        self._revision = news.revision
        if self._track.follow(news):
            self._is_changed = self._is_unwritten = True

    def _tell(self, now_s: float) -> None:
        if self._is_changed:
            self._own.put(
                encode_facts(self._teller.node, self._track.states(), self._clocks.wall())
            )
            self._is_changed = False
            revision = self._own.revision
        elif now_s - self._beat_s >= _BEAT_S:
            revision = self._teller.engine.put(_BUCKET, self._teller.key + _BEAT, b"")
        else:
            return
        self._beat_s = now_s
        if revision <= self._heard_to:
            # The bucket is another one: the broker has lost it, or somebody has deleted it.
            self._heard_to, self._is_changed = 0, True

    def _hear(self) -> None:
        listing = self._teller.engine.entries(_BUCKET, self._heard_to)
        self._heard_to = listing.revision
        if listing.entries or listing.gone:
            self._others.take(listing)
            self._is_unwritten |= any(not one.key.endswith(_BEAT) for one in listing.entries)

    def _write(self, now_s: float) -> None:
        """Once a second at most, and now and then though nothing has changed: it grows old."""
        if now_s < self._write_s or not (self._is_unwritten or now_s >= self._write_s + _BEAT_S):
            return
        began_s = self._clocks.monotonic()
        with suppress(OSError):
            # A storage that is gone, or full: whoever ranks does without.
            write_facts(self._teller.storage, self._joined())
            self._track.write(internals(self._teller.storage) / _FIGURES)
            self._is_unwritten = False
        took_s = self._clocks.monotonic() - began_s
        self._write_s = now_s + max(_LEAST_S, took_s * _WRITE_SHARE)

    def _joined(self) -> FleetFacts:
        own, others = self._track.states(), self._others.together(self._track.half_life_s)
        tools: dict[str, Any] = {tool: ToolFacts(state) for tool, state in own.items()}
        for tool, (state, nodes) in others.items():
            known = tools.setdefault(tool, ToolFacts())
            known.others, known.nodes = state, nodes
        return FleetFacts(
            tools=tools,
            nodes=len(self._others.counted()),
            written_s=self._clocks.monotonic(),
        )
