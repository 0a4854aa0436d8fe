"""
What a node says of itself, all of it in one piece: the answer of all nodes is made of these.

    collector's answers ──► Snapshot ──► msgpack ──► zstd ──► the node's own place at the broker
                            figures, tree, errors, slowest calls, open calls, alerts, workers, books

It is no news but a state: whoever reads the last one knows all that the node counted since its last
cleanup, and none is lost where some were never read. Nothing in it is an average, so that those of
many nodes add up (see `merging`).

Bounded, whatever is recorded: beyond `_MOST_TOOLS` tools the least called are summed under
``_other``, so that the books balance all the same; of edges the largest stay, of errors those that
were counted most, of slowest calls some of each tool. Parameters are in it only where the options
say so. What is read is another machine's: types, version and signs are checked, and what is wrong
is a FormatError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import nlargest
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from shmperf.analysis.alerts import Alerts, shown
from shmperf.analysis.exemplars import MOST, Exemplar
from shmperf.analysis.failures import ErrorsKnown
from shmperf.analysis.shownalert import ShownAlert
from shmperf.analysis.stats import Books, Figures
from shmperf.analysis.totals import Totals
from shmperf.analysis.treestate import Edge
from shmperf.config.options import Options
from shmperf.errors import FormatError, SessionError, StoreError
from shmperf.files import shown_path
from shmperf.session.messages import (
    Errors,
    FiguresOf,
    InFlight,
    OpenCallAnswer,
    Question,
    SessionStatus,
    SlowestOf,
    Status,
    Tree,
)
from shmperf.storage.codecs import CODECS
from shmperf.storage.state import load

from .teller import Ask

__all__ = [
    "OTHER",
    "VERSION",
    "Node",
    "Snapshot",
    "at_rest",
    "bounded",
    "decode",
    "encode",
    "look",
]

# Raised when a reader of before would misread; further fields are none of its business.
VERSION = 1
OTHER = "_other"
_MOST_TOOLS = 5_000
_MOST_EDGES = 20_000
_MOST_GROUPS = 2_000
_MOST_SLOWEST = 1_000
_MOST_OPEN = 100
_MOST_ALERTS = 100
_MOST_NAMES = 100
_NO_PARAMETERS = "{}"
# What one may unpack to: far beyond all of the above.
_MOST_BYTES = 64 << 20

T = TypeVar("T")
_ZSTD = CODECS[0]


class Node(msgspec.Struct, kw_only=True):
    """
    Who says it, and how it is: workers with what they use, and how publishing goes.

    ``origin`` tells its storage from all others, for ever; ``rate`` is calls a second of late, None
    where it is not known; ``is_over`` once its session has ended.
    """

    name: str
    origin: str
    session: str | None = None
    storage_state: str = "ok"
    workers: int = 0
    memory_bytes: int | None = None
    cpu_percent: float | None = None
    threads: int | None = None
    rate: float | None = None
    waiting: int = 0
    dropped: int = 0
    problem: str | None = None
    is_over: bool = False


class Snapshot(msgspec.Struct, kw_only=True):
    """
    What a node counted since its last cleanup; ``limit`` and ``limits`` are the records it keeps.

    ``slowest`` has some of each tool, the slowest first.
    """

    node: Node
    figures: Figures = msgspec.field(default_factory=Figures)
    limit: int = 0
    limits: dict[str, int] = {}
    edges: list[Edge] = []
    errors: ErrorsKnown = msgspec.field(default_factory=ErrorsKnown)
    slowest: list[Exemplar] = []
    open: list[OpenCallAnswer] = []
    alerts: list[ShownAlert] = []
    version: int = VERSION

    def limit_of(self, tool: str) -> int:
        """Records that the node keeps of *tool*."""
        return self.limits.get(tool, self.limit)


def look(ask: Ask, node: Node, options: Options, known: Snapshot | None = None) -> Snapshot:
    """
    What a node says now, made of what its collector answers to *ask*; ShmperfError.

    Tree, errors and slowest calls are most of the work: with a snapshot that is *known*, they are
    as they stand there.
    """

    def answer(question: Question, kind: type[T]) -> T:
        return msgspec.convert(ask(question), kind)

    try:
        status = answer(Status(), SessionStatus)
        found = Snapshot(
            node=_with_workers(node, status),
            figures=answer(FiguresOf(), Figures),
            limit=options.default_perf_points,
            limits=options.tool_limits,
            open=answer(InFlight(), list[OpenCallAnswer]),
            alerts=status.alerts,
        )
        if known is None:
            found.edges = answer(Tree(), list[Edge])
            found.errors = answer(Errors(), ErrorsKnown)
            found.slowest = answer(SlowestOf(_MOST_SLOWEST * 2), list[Exemplar])
        else:
            found.edges, found.errors = known.edges, known.errors
            found.slowest = known.slowest
    except msgspec.ValidationError as error:
        raise SessionError(f"the collector's answer can't be read: {error}") from None
    return bounded(found, with_arguments=options.fleet.arguments)


def at_rest(storage: Path, node: Node, options: Options) -> Snapshot:
    """What a node says whose session has ended: what lies on disk; StoreError."""
    try:
        ledger, damage = load(storage, options)
    except FormatError as error:
        raise StoreError(f"{shown_path(storage)}: {error}") from None
    found = Snapshot(
        node=msgspec.structs.replace(node, is_over=True),
        figures=ledger.figures(None, 0, complete=not damage),
        limit=options.default_perf_points,
        limits=options.tool_limits,
        edges=ledger.tree.graph({}),
        errors=ledger.known_errors(),
        slowest=ledger.exemplars.slowest(_MOST_SLOWEST * 2),
        alerts=[shown(alert) for alert in ledger.analyses.of(Alerts).open.values()],
    )
    return bounded(found, with_arguments=options.fleet.arguments)


def _with_workers(node: Node, status: SessionStatus) -> Node:
    workers = status.workers
    return msgspec.structs.replace(
        node,
        session=status.session,
        storage_state=status.storage_state,
        workers=len(workers),
        memory_bytes=_sum(one.memory_bytes for one in workers),
        cpu_percent=_sum(one.cpu_percent for one in workers),
        threads=_sum(one.threads for one in workers),
    )


def _sum(figures: Iterable[Any]) -> Any:
    known = [one for one in figures if one is not None]
    return sum(known) if known else None


# --- bounds --------------------------------------------------------------------------------------


def bounded(found: Snapshot, *, with_arguments: bool) -> Snapshot:
    """*found* with no more than a snapshot holds, and parameters only *with_arguments*."""
    totals, others = _most_called(found.figures.totals)
    figures = Figures(
        totals=totals,
        sizes=_summed(found.figures.sizes, others),
        books=_bounded_books(found.figures.books, others),
        forgotten=found.figures.forgotten,
        since_ns=found.figures.since_ns,
    )
    errors = found.errors
    caught = nlargest(_MOST_GROUPS, errors.caught.items(), key=lambda one: one[1].count)
    uncaught = nlargest(_MOST_GROUPS, errors.uncaught, key=lambda one: one.count)
    strip: Callable[[Any], Any] = _as_it_is if with_arguments else _without_arguments
    return msgspec.structs.replace(
        found,
        figures=figures,
        limits={tool: limit for tool, limit in found.limits.items() if tool in totals},
        edges=nlargest(_MOST_EDGES, found.edges, key=lambda edge: edge.total_ns),
        errors=ErrorsKnown(
            {one: _with_sample(bug, strip) for one, bug in caught},
            [_with_sample(failure, strip) for failure in uncaught],
            [strip(call) for call in errors.latest[:_MOST_GROUPS]],
        ),
        slowest=[Exemplar(strip(one.call)) for one in _fairly(found.slowest)],
        open=[_opened(call, with_arguments) for call in found.open[:_MOST_OPEN]],
        alerts=found.alerts[:_MOST_ALERTS],
    )


def _most_called(totals: Mapping[str, Totals]) -> tuple[dict[str, Totals], set[str]]:
    """The totals of the tools that are called most, all others in one; which those are."""
    if len(totals) <= _MOST_TOOLS:
        return dict(totals), set()
    most = nlargest(_MOST_TOOLS - 1, totals.items(), key=lambda one: one[1].count)
    kept = dict(most)
    others = totals.keys() - kept.keys()
    rest = Totals()
    for tool in (*others, *({OTHER} & kept.keys())):
        rest.merge(totals[tool])
    kept[OTHER] = rest
    return kept, set(others)


def _summed(counts: Mapping[str, int], others: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for tool, count in counts.items():
        name = OTHER if tool in others else tool
        found[name] = found.get(name, 0) + count
    return found


def _bounded_books(books: Books, others: set[str]) -> Books:
    nameless = {tool: names[:_MOST_NAMES] for tool, names in books.nameless.items()}
    opened = _summed(books.opened, others)
    return msgspec.structs.replace(books, nameless=nameless, opened=opened)


def _fairly(slowest: Iterable[Exemplar]) -> list[Exemplar]:
    """The slowest of each tool before any tool's second slowest, and so on; the slowest first."""
    ranks: dict[str, int] = {}
    places: dict[int, int] = {}
    ordered = sorted(slowest, key=_slowness, reverse=True)
    for one in ordered:
        tool = one.call.tool
        places[one.call.id] = ranks[tool] = ranks.get(tool, -1) + 1
    kept = [one for one in ordered if places[one.call.id] < MOST]
    # The sort keeps the slower ones of a place before the others.
    kept.sort(key=lambda one: places[one.call.id])
    return sorted(kept[:_MOST_SLOWEST], key=_slowness, reverse=True)


def _slowness(one: Exemplar) -> tuple[int, int]:
    return one.call.duration_ns or 0, one.call.id


def _as_it_is(call: T) -> T:
    return call


def _without_arguments(call: Any) -> Any:
    """*call* without parameters and metadata; of how it failed all that is known."""
    detail = call.detail
    if detail is not None:
        detail = msgspec.structs.replace(detail, metadata=None, children=[], totals={})
    return msgspec.structs.replace(call, params=_NO_PARAMETERS, detail=detail)


def _with_sample(group: Any, strip: Callable[[Any], Any]) -> Any:
    if group.sample is None:
        return group
    return msgspec.structs.replace(group, sample=strip(group.sample))


def _opened(call: OpenCallAnswer, with_arguments: bool) -> OpenCallAnswer:
    return call if with_arguments else msgspec.structs.replace(call, params=None)


# --- bytes ---------------------------------------------------------------------------------------

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Snapshot).decode


class _Versioned(msgspec.Struct):
    version: int


_version_in = msgspec.msgpack.Decoder(_Versioned).decode


def encode(snapshot: Snapshot) -> bytes:
    """*snapshot* as bytes; `decode` reads them."""
    return _ZSTD.compressor()(_encode(snapshot))


def decode(content: bytes) -> Snapshot:
    """What `encode` has written on some machine; FormatError for anything else."""
    try:
        plain = _ZSTD.expand(content, _MOST_BYTES)
        found = _version_in(plain).version
        if found != VERSION:
            raise FormatError(f"found a snapshot of version {found}, expected {VERSION}")
        snapshot = _decode(plain)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FormatError(f"found no snapshot: {error}") from None
    if not _is_sound(snapshot):
        raise FormatError("found a snapshot whose figures no node can have")
    return snapshot


def _is_sound(snapshot: Snapshot) -> bool:
    books = snapshot.figures.books
    counts = [books.begun, books.lost, *books.losses.values(), *books.faults.values()]
    counts += books.opened.values()
    for totals in snapshot.figures.totals.values():
        counts += (totals.count, totals.errors, totals.aborted, totals.sampled_out, totals.untimed)
        counts += (totals.sum_ns, totals.zero_count, totals.min_ns or 0, totals.max_ns or 0)
        counts += totals.histogram.values()
    counts += (number for edge in snapshot.edges for number in (edge.calls, edge.total_ns))
    return min(counts) >= 0
