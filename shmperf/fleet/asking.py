"""
Answers for all nodes: what each has said of itself last, read at the broker and merged.

    bucket <stream>_nodes ──► heads that have changed ──► snapshots ──► Look: a row a node, and all
                              since the last look          by node          of them merged

A node's age is what the broker's clock says has passed since it wrote last: nobody's own clock is
asked. A node that has gone quiet keeps its place in the statistics, whose history it is, and its
row says since when.

    up      wrote within `UP_S`
    ended   its session has, and its last word was whole
    silent  wrote nothing for longer: it hangs, was killed, or the way to the broker is cut
    gone    for longer than `GONE_S`: nobody waits for it any more
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import msgspec

from shmperf.analysis.spans import IntervalsView
from shmperf.analysis.stats import SessionStats
from shmperf.analysis.totals import ToolStats, Totals
from shmperf.errors import FormatError

from .engine import Engine, EngineError, Entry
from .merging import Merged, merge
from .pieces import head_of, is_head, whole
from .snapshot import Snapshot, decode
from .trends import TREND, decode_trend

__all__ = ["GONE_S", "UP_S", "FleetStats", "Look", "NodeRow", "NodeTool", "States", "ToolOfFleet"]

UP_S, GONE_S = 30.0, 300.0
_TRIES = 3
_LONGEST_TEXT = 300
_BEAT, _ENDED = ".beat", "ended"
# Of so many nodes the states are held taken apart; of more, each is taken apart when it is needed.
_MOST_APART = 100
_ALIVE = frozenset({"up", "silent"})


class NodeRow(msgspec.Struct, kw_only=True):
    """
    A node, and one storage of it: how it is, and its books.

    ``origin`` tells storages apart; ``age_s`` is what has passed since its last word, ``rate``
    calls a second of late, None where it is not known. ``waiting`` has not been published yet,
    ``dropped`` never will be.
    """

    node: str
    origin: str
    state: str
    age_s: float
    workers: int = 0
    rate: float | None = None
    begun: int = 0
    total_calls: int = 0
    errors: int = 0
    in_flight: int = 0
    aborted: int = 0
    lost: dict[str, int] = {}
    waiting: int = 0
    dropped: int = 0
    complete: bool = False
    memory_bytes: int | None = None
    cpu_percent: float | None = None
    threads: int | None = None
    problem: str | None = None


class NodeTool(msgspec.Struct, kw_only=True):
    """What one node knows of a tool."""

    node: str
    origin: str
    count: int
    errors: int
    aborted: int
    p50_s: float | None
    p95_s: float | None


class FleetStats(SessionStats, kw_only=True):
    """Statistics of all tools of all nodes; the books are the sums of the nodes' own."""

    nodes: list[NodeRow] = msgspec.field(default_factory=list)


class ToolOfFleet(ToolStats, kw_only=True):
    """One tool's statistics over all nodes, and what each knows of it."""

    nodes: list[NodeTool] = msgspec.field(default_factory=list)


class _Said:
    """A state as it was read; taken apart it fills thirty times as much, so few are held so."""

    def __init__(self, content: bytes, *, keep: bool) -> None:
        """FormatError for what is no snapshot."""
        snapshot = decode(content)
        self.row = _row(snapshot)
        self._content = content
        self._snapshot = snapshot if keep else None

    @property
    def snapshot(self) -> Snapshot:
        """What its node has said."""
        return self._snapshot or decode(self._content)


class _Known:
    """What is known of a node; *written_ns* is the broker's time of its last word or beat."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.written_ns = 0
        self.said: _Said | None = None
        self.problem: str | None = None
        self.trend: IntervalsView | None = None

    @property
    def origin(self) -> str:
        """Of its storage."""
        return self.key.partition(".")[2]

    def row(self, now_ns: int) -> NodeRow:
        """How it is, by the broker's clock."""
        age_s = round(max(0.0, (now_ns - self.written_ns) / 1e9), 3)
        if self.said is None:
            return NodeRow(
                node=self.key.partition(".")[0],
                origin=self.origin,
                state="unreadable",
                age_s=age_s,
                problem=self.problem,
            )
        row = self.said.row
        return msgspec.structs.replace(
            row,
            state=_state(row.state == _ENDED, age_s),
            age_s=age_s,
            problem=self.problem or row.problem,
        )


class _Together:
    """What some nodes have said, merged once somebody asks."""

    def __init__(self, said: Sequence[_Said], trends: Sequence[IntervalsView]) -> None:
        self.said = said
        self.trends = list(trends)

    @cached_property
    def merged(self) -> Merged:
        return merge(one.snapshot for one in self.said)


class Look:
    """What all nodes have said by one moment."""

    def __init__(self, rows: list[NodeRow], together: _Together) -> None:
        self.rows = rows
        self._together = together

    @property
    def merged(self) -> Merged:
        """All of it in one."""
        return self._together.merged

    @property
    def trends(self) -> list[IntervalsView]:
        """The intervals that each has told."""
        return self._together.trends

    @property
    def is_complete(self) -> bool:
        """False where calls may be missing that had ended: of who went without a last word, too."""
        return all(row.complete and row.state in {"up", "ended"} for row in self.rows)

    def stats(self) -> FleetStats:
        """Statistics of all tools, the books, and a row a node."""
        found = self.merged.stats()
        found.complete = found.complete and self.is_complete
        return FleetStats(**msgspec.structs.asdict(found), nodes=self.rows)

    def tool(self, name: str) -> ToolOfFleet:
        """One tool's statistics, and what each node knows of it; zeros for an unknown one."""
        merged = self.merged
        found = merged.totals.get(name, Totals()).stats(
            name,
            merged.sizes.get(name, 0),
            merged.limits.get(name, 0),
            complete=self.is_complete,
            in_flight=merged.books.opened.get(name, 0),
        )
        nodes = [
            _of_tool(snapshot, name, snapshot.figures.totals[name])
            for snapshot in self.snapshots()
            if name in snapshot.figures.totals
        ]
        return ToolOfFleet(**msgspec.structs.asdict(found), nodes=nodes)

    def snapshots(self) -> Iterator[Snapshot]:
        """What each node has said."""
        return (one.snapshot for one in self._together.said)

    def names(self) -> set[str]:
        """Every tool that some node knows."""
        return {*self.merged.totals, *self.merged.books.opened}

    def of_node(self, name: str) -> Look:
        """The same of one node alone."""
        rows = [row for row in self.rows if row.node == name]
        said = [one for one in self._together.said if one.row.node == name]
        return Look(rows, _Together(said, ()))


class States:
    """Reads the nodes' states, each again only when it has changed; one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, _Known] = {}
        self._revision = 0
        self._together: _Together | None = None
        # Those of whom that is.
        self._counted: list[_Known] = []

    def look(self) -> Look:
        """What is to be seen now; raises what the engine raises."""
        try:
            listing = self._engine.entries("nodes", self._revision)
            for key in listing.gone:
                self._known.pop(key, None)
                self._together = None
            for entry in listing.entries:
                self._take(entry)
        except EngineError:
            # It may come back with less than it had: all of it is read again.
            self._revision = 0
            raise
        self._revision = listing.revision
        known = _once_each(sorted(self._known.values(), key=lambda one: one.key), listing.now_ns)
        rows = [one.row(listing.now_ns) for one in known]
        _tell_twins(rows)
        if self._together is None or known != self._counted:
            self._counted = known
            said = [one.said for one in known if one.said is not None]
            trends = [one.trend for one in known if one.trend is not None]
            self._together = _Together(said, trends)
        return Look(rows, self._together)

    def _take(self, entry: Entry) -> None:
        key = entry.key.removesuffix(_BEAT).removesuffix(TREND)
        if not is_head(key):
            # A piece of a state, whose head comes behind it.
            return
        known = self._known.setdefault(key, _Known(key))
        known.written_ns = max(known.written_ns, entry.written_ns)
        if entry.key.endswith(_BEAT):
            return
        self._together = None
        if entry.key.endswith(TREND):
            with suppress(FormatError):
                known.trend = decode_trend(entry.value)
            return
        try:
            apart = sum(one.said is not None for one in self._known.values())
            known.said = _Said(self._read(entry), keep=apart <= _MOST_APART)
            known.problem = None
        except FormatError as error:
            # What was known stays, and the row says so.
            known.problem = str(error)[:_LONGEST_TEXT]

    def _read(self, entry: Entry) -> bytes:
        found: Entry | None = entry
        for _ in range(_TRIES):
            if found is None:
                break
            content = whole(found.key, head_of(found.value), self._piece)
            if content is not None:
                return content
            # It has moved on meanwhile.
            found = self._engine.get("nodes", found.key)
        raise FormatError("found a state whose parts do not belong together")

    def _piece(self, key: str) -> bytes | None:
        found = self._engine.get("nodes", key)
        return None if found is None else found.value


def _row(snapshot: Snapshot) -> NodeRow:
    """All but how old it is."""
    node_, books = snapshot.node, snapshot.figures.books
    totals = snapshot.figures.totals.values()
    finished, aborted = sum(one.count for one in totals), sum(one.aborted for one in totals)
    lost = books.lost_by_cause()
    return NodeRow(
        node=node_.name,
        origin=node_.origin,
        state=_ENDED if node_.is_over else "up",
        age_s=0.0,
        workers=node_.workers,
        rate=node_.rate,
        begun=books.begun,
        total_calls=finished,
        errors=sum(one.errors for one in totals),
        in_flight=books.begun - finished - aborted - sum(lost.values()),
        aborted=aborted,
        lost=lost,
        waiting=node_.waiting,
        dropped=node_.dropped,
        complete=books.complete,
        memory_bytes=node_.memory_bytes,
        cpu_percent=node_.cpu_percent,
        threads=node_.threads,
        problem=node_.problem or _of_storage(node_.storage_state),
    )


def _state(is_over: bool, age_s: float) -> str:
    if is_over:
        return _ENDED
    if age_s <= UP_S:
        return "up"
    return "silent" if age_s <= GONE_S else "gone"


def _of_storage(state: str) -> str | None:
    return None if state == "ok" else state


def _once_each(known: Sequence[_Known], now_ns: int) -> list[_Known]:
    """
    *known* without what a storage has said under a name that it had before.

    Its history would count twice: its last word is under the present name. Only where both names go
    on at the same time are they two, of which one is a copy of the other.
    """
    newest: dict[str, int] = {}
    for one in known:
        newest[one.origin] = max(newest.get(one.origin, 0), one.written_ns)
    return [
        one
        for one in known
        if one.written_ns == newest[one.origin] or one.row(now_ns).state == "up"
    ]


def _tell_twins(rows: Iterable[NodeRow]) -> None:
    """Two storages of one name are told where both are alive: one after the other is fine."""
    alive = [row for row in rows if row.state in _ALIVE]
    names = Counter(row.node for row in alive)
    for row in alive:
        if names[row.node] > 1 and row.problem is None:
            row.problem = f"{names[row.node]} storages publish under this name now"


def _of_tool(snapshot: Snapshot, tool: str, totals: Totals) -> NodeTool:
    told: Any = totals.stats(tool, 0, 0)
    return NodeTool(
        node=snapshot.node.name,
        origin=snapshot.node.origin,
        count=told.count,
        errors=told.errors,
        aborted=told.aborted,
        p50_s=told.p50_s,
        p95_s=told.p95_s,
    )
