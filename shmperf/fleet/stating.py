"""
A node's last word at the broker, kept current: its snapshot, put when it has changed.

Counts are asked of the collector each `_LEAST_S`, all of it each `_WHOLE_S` (with 100 tools 4 and
16 ms of its time), and put where they differ from what was put last; a beat each `_BEAT_S` beside
it says that the node lives. When the session ends the figures are those on disk, and the last word
says that it is the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from shmperf.analysis.spans import IntervalsView
from shmperf.errors import SessionError
from shmperf.session.messages import IntervalsOf, SidecarReport

from .ownkey import OwnState
from .snapshot import Node, Snapshot, at_rest, encode, look
from .teller import Teller
from .trends import TREND, encode_trend

__all__ = ["Stating"]

_BEAT = ".beat"
_LEAST_S, _BEAT_S, _TREND_S = 2.0, 10.0, 30.0
# Tree, errors and slowest calls are asked for less often: they are most of a collector's work.
_WHOLE_S = 10.0
_HOUR_S = 3_600.0
# What takes long is done in a small part of the time.
_SHARE = 20


class Stating:
    """One node's turn at it; a sidecar's thread."""

    def __init__(self, teller: Teller, clock: Callable[[], float] = time.monotonic) -> None:
        self._teller, self._clock = teller, clock
        self._state = OwnState(teller.engine, "nodes", teller.key)
        self._due_s = self._beat_s = self._trend_s = self._whole_s = float("-inf")
        self._known: Snapshot | None = None
        self._put = b""
        self._seen: tuple[float, int] | None = None
        self._rate: float | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with this node's place at the broker."""
        if not self._state.strangers:
            return None
        return (
            f"another process writes the state of {self._teller.key}: two nodes of one name on"
            f" copies of one storage, seen {self._state.strangers} times"
        )

    def step(self, report: SidecarReport) -> None:
        """Say how it is, when that is due; raises what asking and the engine raise."""
        now_s = self._clock()
        if now_s < self._due_s:
            return
        self._due_s = now_s + _LEAST_S
        known = self._known if now_s < self._whole_s else None
        snapshot = look(self._teller.ask, self._node(report), self._teller.options, known)
        if known is None:
            self._whole_s = now_s + _WHOLE_S
        # After a cleanup, what was known before is not to be told any more.
        is_same = known is None or known.figures.forgotten == snapshot.figures.forgotten
        self._known = snapshot if is_same else None
        if not is_same:
            self._due_s = now_s
            return
        self._take_rate(snapshot, now_s)
        self._say(snapshot, now_s)
        if now_s >= self._trend_s:
            self._trend_s = now_s + _TREND_S
            self._say_trend()
        self._due_s = now_s + max(_LEAST_S, (self._clock() - now_s) * _SHARE)

    def finish(self, report: SidecarReport) -> None:
        """The last word, of what lies on disk; raises StoreError, and what the engine raises."""
        teller, node = self._teller, self._node(report)
        found = at_rest(teller.storage, node, teller.options)
        if self._known and not found.figures.totals and not found.figures.forgotten:
            # The directory is gone, and with it what was counted; not here.
            node.is_over = True
            found = msgspec.structs.replace(self._known, node=node, open=[])
        self._say(found, self._clock())

    def _say_trend(self) -> None:
        teller = self._teller
        try:
            answer = teller.ask(IntervalsOf(None, time.time() - _HOUR_S))
            view = msgspec.convert(answer, IntervalsView)
        except msgspec.ValidationError as error:
            raise SessionError(f"the collector's answer can't be read: {error}") from None
        teller.engine.put("nodes", teller.key + TREND, encode_trend(view))

    def _node(self, report: SidecarReport) -> Node:
        return Node(
            name=self._teller.node,
            origin=self._teller.origin.hex(),
            waiting=report.waiting,
            dropped=report.dropped,
            problem=report.problem,
        )

    def _take_rate(self, snapshot: Snapshot, now_s: float) -> None:
        calls = sum(totals.count for totals in snapshot.figures.totals.values())
        if self._seen is not None and now_s > self._seen[0]:
            # After a cleanup there are fewer than before.
            self._rate = max(0, calls - self._seen[1]) / (now_s - self._seen[0])
        self._seen = now_s, calls
        snapshot.node.rate = None if self._rate is None else float(f"{self._rate:.3g}")

    def _say(self, snapshot: Snapshot, now_s: float) -> None:
        compared = _without_times(snapshot)
        if compared != self._put:
            self._state.put(encode(snapshot))
            self._put = compared
        elif now_s - self._beat_s >= _BEAT_S:
            self._teller.engine.put("nodes", self._teller.key + _BEAT, b"")
        else:
            return
        self._beat_s = now_s


def _without_times(snapshot: Snapshot) -> bytes:
    """What makes a difference: an open call grows older, and that alone is no news."""
    opened = [msgspec.structs.replace(call, running_s=0.0) for call in snapshot.open]
    node = msgspec.structs.replace(snapshot.node, memory_bytes=None, cpu_percent=None)
    return msgspec.msgpack.encode(msgspec.structs.replace(snapshot, open=opened, node=node))
