"""
How a call's record gets into its tool's ring: in one slot, in parts, or in memory of its own.

A position is taken and its slot stored in one step, on one line, which no handler and no other
thread gets into. The slot that makes the call finished comes last, and the call is marked so by the
same step.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

import msgspec

from shmperf.shm.fence import PUBLISHED
from shmperf.shm.record import BLOCK, BODY_BYTES, PARTS, SLOT_BYTES, meta_of, seal
from shmperf.shm.ring import Grant, RingWriter
from shmperf.shm.segment import Loss

from .callstate import CallState
from .process import Tool, worker

__all__ = ["is_stored", "refilled", "store_long", "store_slot", "suspect_hole"]

_store = PUBLISHED.pack_into
_encode = msgspec.msgpack.Encoder().encode
_PART_COUNT = Struct("<H")
_MOST_PARTS = 1024


def store_long(call: CallState, status: int, body: bytes) -> bool:
    """Store what one slot does not hold; False when there is no room for it."""
    if len(body) <= _most_in_parts(call):
        return _store_parts(call, status, body)
    return _store_blob(call, status, body)


def _most_in_parts(call: CallState) -> int:
    lane = call.tool.lane
    slots = lane.writer.slots // 4 if lane else 0
    return min(slots, _MOST_PARTS) * BODY_BYTES - _PART_COUNT.size


def _store_parts(call: CallState, status: int, body: bytes) -> bool:
    first = BODY_BYTES - _PART_COUNT.size
    rest = [body[at : at + BODY_BYTES] for at in range(first, len(body), BODY_BYTES)]
    kind = status | call.flags | PARTS
    head = _PART_COUNT.pack(len(rest)) + body[:first]
    lane = call.tool.lane
    while lane is not None:
        ring = lane.writer
        if _store_all(call, kind, (head, rest), ring):
            return True
        if call.tool.lane is lane and lane.writer is ring:
            return False
        lane = call.tool.lane
        # Replaced in the middle: a reader looks for all parts in one ring, so all go once more.
    return False


def _store_all(
    call: CallState, kind: int, record: tuple[bytes, list[bytes]], ring: RingWriter
) -> bool:
    """Store a record's parts and then its head in *ring*; False when that has no room."""
    head, rest = record
    for number, part in enumerate(rest, 1):
        if not _store_part(call, kind, (part, number), ring):  # point: parts-next
            return False
    return store_slot(call, kind, head, ring)  # point: parts-head


def _store_blob(call: CallState, status: int, body: bytes) -> bool:
    segment = worker.segment
    name = segment.add_blob(body) if segment is not None else None
    if name is None:
        call.count_loss(Loss.TOO_LARGE)
        return False
    named = _encode((name, len(body)))  # point: blob-name
    return store_slot(call, status | call.flags | BLOCK, named)


def suspect_hole(tool: Tool) -> None:
    """Something failed as a call of *tool* was stored: let its ring be searched for a hole."""
    lane = tool.lane
    if lane is not None:
        lane.writer.may_have_hole = True


def refilled(tool: Tool, exhausted: Iterator[int]) -> bool:
    """Another grant for *tool*; False as well where the next record has to look for a hole."""
    lane = tool.lane
    return lane is not None and not lane.writer.may_have_hole and worker.refill(tool, exhausted)


def is_stored(call: CallState) -> bool:
    """Whether the call's record is, or was, at the position that was taken for it."""
    segment, position = worker.segment, call.position
    if segment is None:
        return True
    first = (position + call.shift) // 8
    word = segment.words[first + SLOT_BYTES // 8 - 1]
    # A later lap's record stands only where this one's was read; another call's fills a hole.
    return word > position or (word == position and segment.words[first] == call.call_id)


def _grant_of(ring: RingWriter) -> Grant:
    """Where the next record of *ring* goes: into a hole, if there is one."""
    if ring.may_have_hole:
        return worker.guard.run(ring.spare, _no_spare) or ring.current
    return ring.current


def _no_spare() -> None:
    """In the middle of other work: later."""


def store_slot(call: CallState, kind: int, body: bytes, ring: RingWriter | None = None) -> bool:
    """
    Store the slot that makes the call finished, and mark it so; False when there is no room.

    With *ring*, in that one only: False too when another has taken its place.
    """
    segment = worker.segment
    if segment is None:
        return False
    call_id, parent, start, end = call.call_id, call.parent, call.start_ns, call.end_ns
    meta = meta_of(call.callee, kind, len(body), call.sample)
    if segment.sealed:
        meta = seal((call_id, parent, start, end), meta, body)
    buffer, lane = segment.buffer, call.tool.lane
    while lane is not None and ring in (None, lane.writer):
        positions, shift = _grant_of(ring or lane.writer)
        call.shift = shift
        # One line: nothing may come between taking a position and storing it.
        for call.position in positions:
            # point below: open-slot-store
            _store(buffer, call.position + shift, call_id, parent, start, end, meta, body, call.position)  # fmt: skip  # noqa: E501
            return True  # point: open-begun
        if not worker.refill(call.tool, positions):
            return False
        lane = call.tool.lane
    return False


def _store_part(call: CallState, kind: int, numbered: tuple[bytes, int], ring: RingWriter) -> bool:
    """Store a later part of a record in *ring*; it has its number and no times."""
    body, number = numbered
    segment = worker.segment
    if segment is None:
        return False
    call_id = call.call_id
    meta = meta_of(call.callee, kind, len(body))
    if segment.sealed:
        meta = seal((call_id, number, 0, 0), meta, body)
    buffer, lane = segment.buffer, call.tool.lane
    while lane is not None and lane.writer is ring:
        positions, shift = _grant_of(ring)
        for position in positions:
            # point below: part-store
            _store(buffer, position + shift, call_id, number, 0, 0, meta, body, position)
            return True
        if not worker.refill(call.tool, positions):
            return False
    return False
