"""
Calls that explain a tool's figures: its slowest, its latest failed ones, and what lay below them.

Newest calls are kept in the history, and the worst are rarely among them. So of each tool the
`MOST` slowest and the `MOST` latest failed ones are kept apart, as long as nobody cleans up.

    candidate ──► exemplar ──► settled: with the calls below it ──► pushed out by one that is worse
       └─ slower than the tool's tenth slowest, or failed

Bounded, whatever is recorded: of more than 2,000 tools fewer calls each, at least the slowest and
the latest failed one of up to 40,000 tools; texts are cut; and once `_MOST_BYTES` are filled, new
exemplars keep a summary of their parameters, and no calls below them.
"""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Iterable, Iterator
from heapq import nlargest
from struct import Struct

import msgspec

from shmperf.shm.record import SUMMARY_CHARACTERS, Call, Outcome

from .branches import Tree
from .lately import Node

__all__ = ["MOST", "MOST_BELOW", "Exemplar", "Exemplars", "ExemplarsDelta", "Subtree", "is_failed"]

MOST = 10
MOST_BELOW = 200
_MOST_CALLS = 40_000
_MOST_TOOLS = 40_000
_MOST_BYTES = 8 << 20
_LONGEST_TEXT = 16_384
# An id in msgpack.
_PACKED = Struct(">BQ")
_UINT64 = 0xCF
# An integer and its place in a list.
_ID_BYTES = 40
_FAILED = frozenset({Outcome.ERROR, Outcome.TIMEOUT})

_encode = msgspec.msgpack.Encoder().encode
_decode_nodes = msgspec.msgpack.Decoder(list[Node]).decode


class Exemplar(msgspec.Struct, array_like=True):
    """A call and, once it has settled, what lay below (msgpack); *is_cut* when some is missing."""

    call: Call
    below: bytes = b""
    is_cut: bool = False

    def nodes(self) -> list[Node]:
        """The calls below; none when they can't be read."""
        try:
            return _decode_nodes(self.below) if self.below else []
        except (msgspec.MsgspecError, ValueError):
            return []

    @property
    def size_bytes(self) -> int:
        """About what it fills beyond its fixed fields."""
        call, detail = self.call, self.call.detail
        size = len(call.params) + len(call.message or "") + len(self.below)
        if detail is not None:
            size += len(detail.error or "") + len(detail.metadata or "")
            size += _ID_BYTES * len(detail.children)
        return size


class Subtree(msgspec.Struct, array_like=True):
    """What a call's settling tells of an exemplar; the last three of one recorded in detail."""

    id: int
    below: bytes
    is_cut: bool
    children: list[int] = []
    totals: dict[str, tuple[int, int]] = {}
    self_ns: int = 0

    @classmethod
    def of(cls, call_id: int, tree: Tree, start_offset_ns: int) -> Subtree:
        """*tree* below that call, its times moved by *start_offset_ns*."""
        nodes = [
            msgspec.structs.replace(node, start_ns=node.start_ns + start_offset_ns)
            for node in tree.nodes
        ]
        return cls(call_id, _encode(nodes) if nodes else b"", tree.is_cut)


class ExemplarsDelta(msgspec.Struct, array_like=True):
    """New exemplars, then what settled of those and of older ones."""

    new: list[Exemplar] = []
    settled: list[Subtree] = []


def is_failed(call: Call) -> bool:
    """True when *call* ended by an error or a timeout."""
    return call.status in _FAILED


class _OfTool:
    """One tool's: the slowest by duration, the latest failed by end; one call may be in both."""

    __slots__ = ("failed", "slowest")

    def __init__(self) -> None:
        self.slowest: list[Exemplar] = []
        self.failed: list[Exemplar] = []

    def __iter__(self) -> Iterator[Exemplar]:
        """Each of them once, the slowest first, then the latest."""
        slowest = _ids(self.slowest)
        yield from reversed(self.slowest)
        yield from (one for one in reversed(self.failed) if one.call.id not in slowest)

    def add(self, new: Exemplar, most: int) -> list[Exemplar]:
        """Take in *new*; those that are pushed out for it, itself perhaps."""
        if new.call.duration_ns is not None:
            insort(self.slowest, new, key=_by_duration)
        if is_failed(new.call):
            insort(self.failed, new, key=_by_end)
        return self.narrow(most)

    def narrow(self, most: int) -> list[Exemplar]:
        """Keep *most* of each kind; those that are in neither any more."""
        pushed: list[Exemplar] = []
        for kept in (self.slowest, self.failed):
            surplus = len(kept) - most
            if surplus > 0:
                pushed += kept[:surplus]
                del kept[:surplus]
        if not pushed or not self.failed:
            return pushed
        left = _ids(self.slowest) | _ids(self.failed)
        # One that was in both may be pushed out of both at once.
        return list({one.call.id: one for one in pushed if one.call.id not in left}.values())


class Exemplars:
    """An analysis (see `table`): the exemplars of every tool, each by its call's id."""

    def __init__(self, most_calls: int = _MOST_CALLS, most_bytes: int = _MOST_BYTES) -> None:
        """About so many calls at most, and texts of so many bytes."""
        self.known: dict[int, Exemplar] = {}
        # By tool: only slower calls are candidates; a tool that is not here has room.
        self.floors: dict[str, int] = {}
        # Calls whose settling matters: exemplars, and candidates of the change that is made now.
        self.waiting: set[int] = set()
        # Goes up with each change: whoever writes them down knows whether that is current. Beyond
        # those of a collector before, as in `tooltotals`.
        self.revision = self._anew_at = time.monotonic_ns()
        self._changed_at: dict[str, int] = {}
        self._tools: dict[str, _OfTool] = {}
        self._bytes = 0
        self._share = MOST
        self._most_calls = most_calls
        self._most_bytes = most_bytes
        self._new = ExemplarsDelta()

    def add(self, call: Call) -> None:
        """Take in a candidate."""
        self._new.new.append(Exemplar(self._bounded(call)))

    def settle(self, subtree: Subtree) -> None:
        """A candidate or an exemplar has settled."""
        self._new.settled.append(subtree)

    @property
    def has_settled(self) -> bool:
        """True when the next delta tells what lay below some."""
        return bool(self._new.settled)

    def slowest(self, most: int, tool: str | None = None) -> list[Exemplar]:
        """The *most* slowest, of one tool or of all, the slowest first."""
        tools = self._tools.values() if tool is None else [self._tools.get(tool) or _OfTool()]
        return nlargest(most, _slowest_of(tools), key=_by_duration)

    def holding(self, call_id: int) -> Exemplar | None:
        """The one of that call; otherwise one below which the call lay."""
        packed = _PACKED.pack(_UINT64, call_id)
        above = None
        for of_tool in self._tools.values():
            for one in of_tool:
                if one.call.id == call_id:
                    return one
                # Ids are as long as they get, so msgpack writes each in one way.
                if above is None and packed in one.below:
                    above = one
        return above

    def latest_failed(self) -> list[Call]:
        """The latest failed call of each tool, outcome and class that nobody caught."""
        found = {
            (call.tool, call.status, call.err): call
            for of_tool in self._tools.values()
            for call in (one.call for one in of_tool.failed)
            if call.fingerprint is None
        }
        return list(found.values())

    def __iter__(self) -> Iterator[tuple[Exemplar, list[str]]]:
        """
        Every exemplar, and what it is one of: ``slow``, ``failed``, or both; tool by tool.

        There may be changes while this goes on: a tool's are those of one moment.
        """
        for of_tool in list(self._tools.values()):
            slowest, failed = _ids(of_tool.slowest), _ids(of_tool.failed)
            for one in list(of_tool):
                kinds = [("slow", slowest), ("failed", failed)]
                yield one, [name for name, ids in kinds if one.call.id in ids]

    def changed_after(self, revision: int) -> tuple[bool, dict[str, list[Exemplar]]]:
        """
        Those of the tools that have got one after that *revision* of any process; -1: all.

        True before them when what was known then is forgotten.
        """
        changed_at = self._changed_at
        return revision < self._anew_at, {
            tool: list(of_tool)
            for tool, of_tool in self._tools.items()
            if changed_at.get(tool, 0) > revision
        }

    def take_delta(self) -> ExemplarsDelta | None:
        """What is new, or settled, since the last delta."""
        delta, self._new = self._new, ExemplarsDelta()
        if not delta.new and not delta.settled:
            return None
        self.apply(delta)
        return delta

    def apply(self, delta: ExemplarsDelta) -> None:
        """Take in *delta*."""
        self.revision += 1
        for new in delta.new:
            self._add(new)
        for subtree in delta.settled:
            found = self.known.get(subtree.id)
            if found is not None:
                self._attach(found, subtree)

    def clear(self) -> None:
        """Forget everything."""
        self.known, self.floors, self.waiting, self._tools = {}, {}, set(), {}
        self._new = ExemplarsDelta()
        self._bytes, self._share = 0, MOST
        self.revision += 1
        self._anew_at, self._changed_at = self.revision, {}

    def state(self) -> dict[str, list[Exemplar]]:
        """All of them, by tool."""
        return {tool: list(of_tool) for tool, of_tool in self._tools.items()}

    @classmethod
    def restore(cls, state: dict[str, list[Exemplar]]) -> Exemplars:
        """Exemplars that were written before."""
        found = cls()
        for kept in state.values():
            for exemplar in kept:
                found._add(exemplar)
        return found

    def _add(self, new: Exemplar) -> None:
        tool = new.call.tool
        of_tool = self._tools.get(tool)
        if of_tool is None:
            if len(self._tools) >= _MOST_TOOLS:
                self.waiting.discard(new.call.id)
                return
            of_tool = self._tools[tool] = _OfTool()
            self._narrow()
        self._changed_at[tool] = self.revision
        self.known[new.call.id] = new
        self.waiting.add(new.call.id)
        self._bytes += new.size_bytes
        self._let_go(of_tool.add(new, self._share))
        self._raise_floor(tool, of_tool)

    def _narrow(self) -> None:
        """Fewer calls of each tool, once there are many tools."""
        share = max(1, min(MOST, self._most_calls // (2 * len(self._tools))))
        if share < self._share:
            self._share = share
            for tool, of_tool in self._tools.items():
                self._let_go(of_tool.narrow(share))
                self._raise_floor(tool, of_tool)

    def _raise_floor(self, tool: str, of_tool: _OfTool) -> None:
        slowest = of_tool.slowest
        if len(slowest) >= self._share:
            self.floors[tool] = slowest[0].call.duration_ns or 0

    def _let_go(self, gone: Iterable[Exemplar]) -> None:
        for one in gone:
            self.known.pop(one.call.id, None)
            self.waiting.discard(one.call.id)
            self._bytes -= one.size_bytes

    def _attach(self, found: Exemplar, subtree: Subtree) -> None:
        self.waiting.discard(subtree.id)
        detail = found.call.detail
        if detail is not None:
            detail.totals, detail.self_ns = subtree.totals, subtree.self_ns
        if self._bytes + len(subtree.below) + _ID_BYTES * len(subtree.children) > self._most_bytes:
            found.is_cut = True
            return
        self._bytes -= found.size_bytes
        if detail is not None:
            detail.children = subtree.children
        found.below, found.is_cut = subtree.below, subtree.is_cut
        self._bytes += found.size_bytes

    def _bounded(self, call: Call) -> Call:
        """*call*, or a copy with shorter texts."""
        most = _LONGEST_TEXT if self._bytes < self._most_bytes else SUMMARY_CHARACTERS
        detail = call.detail
        texts = [call.params, call.message]
        if detail is not None:
            texts += [detail.error, detail.metadata]
        if all(text is None or len(text) <= most for text in texts):
            return call
        shorter = msgspec.structs.replace(call, message=_cut(call.message, most), truncated=True)
        shorter.params = call.params[:most]
        if detail is not None:
            shorter.params = _summary(call.params, most) or ""
            shorter.detail = msgspec.structs.replace(
                detail, error=_cut(detail.error, most), metadata=_summary(detail.metadata, most)
            )
        return shorter


def _slowest_of(tools: Iterable[_OfTool]) -> Iterator[Exemplar]:
    """The slowest of each of *tools*."""
    return (one for of_tool in tools for one in of_tool.slowest)


def _ids(exemplars: Iterable[Exemplar]) -> set[int]:
    return {one.call.id for one in exemplars}


def _by_duration(one: Exemplar) -> tuple[int, int]:
    return one.call.duration_ns or 0, one.call.id


def _by_end(one: Exemplar) -> tuple[int, int]:
    return one.call.end_ns, one.call.id


def _cut(text: str | None, most: int) -> str | None:
    return None if text is None else text[:most]


def _summary(text: str | None, most: int) -> str | None:
    """JSON that is too long as the beginning of its text, in an object: JSON all the same."""
    if text is None or len(text) <= most:
        return text
    return msgspec.json.encode({"…": text[:most]}).decode()
