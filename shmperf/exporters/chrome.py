"""
Kept calls as Chrome's trace events (JSON), which Perfetto and ``chrome://tracing`` open.

    X           a call, complete, in the lane of a thread; what nests is drawn nested
    b, e        a call beside its siblings, or that outlives its parent: an asynchronous event
    b alone     a call that never ended
    s, f        a flow from a parent to its child in another process
    C           how many calls are open, by worker

The format is "Trace Event Format" (Google, 2016). Times are microseconds since the first call,
whose wall time stands in ``otherData``: as microseconds since 1970 a float would be too coarse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from shmperf.storage.kept import KeptCall

from .lanes import Lane, Placed, Turn, placed

__all__ = ["export"]

_CHUNK_BYTES = 1 << 16
# A counter's points are at least so far apart: more can't be seen, and the file would double.
_COUNTER_US = 100.0
_encode = msgspec.json.Encoder().encode


def export(calls: Iterable[KeptCall]) -> Iterator[bytes]:
    """One JSON object with the events of *calls*; about 64 KiB a chunk."""
    events = _Events()
    chunk = bytearray(b'{"displayTimeUnit":"ms","traceEvents":[\n')
    is_first = True
    for turn in placed(calls):
        for event in events.of(turn):
            chunk += (b"" if is_first else b",\n") + _encode(event)
            is_first = False
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    rest = {"recorder": "shmperf", "started": events.started}
    chunk += b'\n],"otherData":' + _encode(rest) + b"}\n"
    yield bytes(chunk)


class _Events:
    """From turns to events; what each process and lane is called is said once."""

    def __init__(self) -> None:
        self.started = ""
        self._named: set[Lane | int] = set()
        self._open: Counter[int] = Counter()
        self._counted_us: dict[int, float] = {}

    def of(self, turn: Turn) -> Iterator[dict[str, Any]]:
        call, pid = turn.call, turn.call.lane.pid
        self._open[pid] += 1 if turn.is_begin else -1
        if turn.is_begin:
            self.started = self.started or call.call.timestamp
            yield from self._names(call.lane)
            yield from _begin(call)
        elif call.lane.is_overlapping and call.is_ended:
            yield _event(call, "e", call.end_us)
        if call.is_ended or turn.is_begin:
            yield from self._counter(pid, turn.at_us)

    def _names(self, lane: Lane) -> Iterator[dict[str, Any]]:
        if lane.pid not in self._named:
            self._named.add(lane.pid)
            yield _name("process_name", lane.pid, 0, f"worker {lane.pid}")
        if not lane.is_overlapping and lane not in self._named:
            self._named.add(lane)
            yield _name("thread_name", lane.pid, lane.number, f"lane {lane.number}")

    def _counter(self, pid: int, at_us: float) -> Iterator[dict[str, Any]]:
        is_due = at_us - self._counted_us.get(pid, -_COUNTER_US) >= _COUNTER_US
        if is_due or not self._open[pid]:
            self._counted_us[pid] = at_us
            yield {
                "ph": "C",
                "name": "calls in flight",
                "pid": pid,
                "ts": _rounded(at_us),
                "args": {"open": self._open[pid]},
            }


def _name(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _begin(call: Placed) -> Iterator[dict[str, Any]]:
    if call.lane.is_overlapping or not call.is_ended:
        yield _event(call, "b", call.start_us) | {"args": _arguments(call)}
    else:
        length = {"dur": _rounded(call.end_us - call.start_us), "args": _arguments(call)}
        yield _event(call, "X", call.start_us) | length
    parent = call.parent
    if parent is None or parent.lane == call.lane:
        return
    if parent.is_open and _is_drawn(parent) and _is_drawn(call):
        # The arrow leaves the parent while it is open, and enters the child at its begin.
        flow = {"name": "calls", "cat": "flow", "id": call.call.id, "ts": _rounded(call.start_us)}
        yield flow | {"ph": "s", "pid": parent.lane.pid, "tid": _thread(parent.lane)}
        yield flow | {"ph": "f", "bp": "e", "pid": call.lane.pid, "tid": _thread(call.lane)}


def _is_drawn(call: Placed) -> bool:
    """True for what lies in a thread's lane: arrows know no others."""
    return call.is_ended and not call.lane.is_overlapping


def _event(call: Placed, phase: str, at_us: float) -> dict[str, Any]:
    lane = call.lane
    event = {
        "ph": phase,
        "name": call.call.tool,
        "cat": call.call.status,
        "ts": _rounded(at_us),
        "pid": lane.pid,
        "tid": _thread(lane),
    }
    if phase != "X":
        # Those of one id nest; a call that never ended is beside all others.
        name = f"overlapping {lane.number}" if call.is_ended else f"open {call.call.id}"
        event |= {"cat": "calls", "id2": {"local": name}}
    return event


def _thread(lane: Lane) -> int:
    return 0 if lane.is_overlapping else lane.number


def _arguments(call: Placed) -> dict[str, Any]:
    kept = call.call
    fields = {
        "id": kept.id,
        "parent": kept.parent,
        "trace": kept.trace,
        "status": kept.status,
        "err": kept.err,
        "params": kept.params,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _rounded(us: float) -> float:
    return round(us, 3)
