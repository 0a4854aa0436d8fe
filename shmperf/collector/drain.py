"""
Reading one worker: its rings from where they were left, its rows, and what they say together.

A *pass* looks at every ring of the worker once, each up to what was committed at that moment. An
idle worker costs one comparison of its in-flight table: a call changes a row when it begins. Calls
that are open may end without changing a row, so their tools' rings are looked at besides.

A record in several slots is taken whole or not at all: where its last slot is not there yet, the
ring is left at its first one, unless the call's row says that it has given up.

Whatever is read here another process wrote: numbers are bounded, names are looked up, and what does
not fit is refused and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct

from shmperf.shm.beyond import Beyond
from shmperf.shm.inflight import block_of, row_key
from shmperf.shm.record import (
    BLOCK,
    LENGTH_MASK,
    PARTS,
    SLOT_BYTES,
    Callee,
    Slot,
    callee_of,
    kind_bits,
)
from shmperf.shm.ring import READ_SLOTS, Batch
from shmperf.shm.rowtable import RowTable
from shmperf.shm.segment import SHARED, Kind, SegmentReader
from shmperf.storage.state import WorkerState

from .lanes import Lane, Lanes
from .leftout import LeftOut

__all__ = ["Portion", "Take", "WorkerDrain"]

# A tool's calls, in the order in which they were stored, and the union of their meta words.
Portion = tuple[str, Batch, int]
Take = Callable[["WorkerDrain", list[Portion]], None]

_PART_COUNT = Struct("<H")
_PARTS = kind_bits(PARTS)
_LONG = kind_bits(PARTS | BLOCK)
_UNKNOWN = Callee("?")
# Records of many tools that are read before others have their turn, and slots can be released.
_MOST_SHARED = 512


class WorkerDrain:
    """One worker seen from the collector's thread."""

    def __init__(
        self,
        name: str,
        known: WorkerState | None,
        fallback: Path | None = None,
        naming: Callable[[Callee], Callee] = lambda callee: callee,
        *,
        is_past_known: bool = True,
    ) -> None:
        """
        Attach where *known*, a former collector, stopped; raises SegmentGone or FormatError.

        *naming* says as what a line of its name table counts. As long as it is not known what a
        former collector has done, *is_past_known* is false.
        """
        self._segment = SegmentReader(name, fallback=fallback)  # point: drain-attach
        self.name = name
        self._naming = naming
        self.fallback = fallback
        self.pid = self._segment.pid
        self.epoch = self._segment.epoch
        if known is not None and known.epoch != self.epoch:
            known = None
        self.known = known if known is not None else WorkerState(pid=self.pid, epoch=self.epoch)
        self.callees: dict[int, Callee] = dict(self.known.callees)
        self.new_callees: dict[int, Callee] = {}
        self.rows = RowTable(dict(self.known.ended))
        self.left_out = LeftOut(self._segment, self.known.sampled_out, is_known=is_past_known)
        self.is_dead = False
        self.has_news = True
        # Why the last look at it failed.
        self.problem = ""
        self.passes_since_record = 0
        # What is left of a pass, and what was read in it.
        self._steps: Iterator[tuple[Lane, int, list[Portion]]] | None = None
        self._slots_read = 0
        self.blocks: set[int] = set()
        self.first_block = 0
        self.remotes = self._segment.remotes()
        self.board = self._segment.board()
        self.holes = 0
        self.incomplete = 0
        self.beyond: Beyond | None = None
        self._nameless = _UNKNOWN
        self.lanes = Lanes(self._segment.words)
        self.begun = self.lost = 0
        self.look()
        self.read_rows()

    def look(self) -> None:
        """Take note of callees, rows and rings published since the last look."""
        self.beyond = self._segment.beyond()
        if self.beyond is not None:
            self._nameless = Callee(self.beyond.tool)
        for extent in self._segment.new_extents():
            if extent.kind == Kind.CALLEE:
                callee = self._segment.callee(extent)
                if callee is not None:
                    callee = self._naming(callee)
                    self.callees[extent.key] = self.new_callees[extent.key] = callee
            elif extent.kind == Kind.ROWS:
                self.rows.add(self._segment.rows(extent))
                self.blocks.add(extent.key)
                self.first_block = self.first_block or extent.key
            elif extent.kind == Kind.REMOTE:
                self.remotes.add(extent.offset)
            elif extent.kind == Kind.BOARD:
                self.board.add(extent.offset)
            elif extent.kind == Kind.COUNT:
                self.left_out.add(extent)
            else:
                tool = None if extent.key == SHARED else self.callee(extent.key).tool
                position = self.known.positions.get(extent.offset, 0)
                reader = self._segment.ring(extent, position)
                self.lanes.add(Lane(reader, extent.offset, tool))

    def is_quiet(self) -> bool:
        """
        True when nothing can have come since the last pass, for the cost of one comparison.

        Two further passes follow the last record: after them every tree is settled.
        """
        if self.rows.has_changed():
            return False
        # Rows may come long after their worker was found, and calls may have begun in them.
        if self.is_in_pass or self.passes_since_record < 2 or self._segment.has_new_extents():
            return False
        callees = self.rows.callees
        # What they are called may take another look, which may find rings.
        return not callees or not self.lanes.has_record({self.callee(n).tool for n in callees})

    def run_pass(self, take: Take) -> int:
        """
        Look at every ring once, and *take* what is there; returns the number of slots read.

        Where many tools share a ring each record costs as much as many of one tool: then it is a
        part of a pass, `is_in_pass` is true, and the next call goes on there.
        """
        if self._steps is None:
            self.look()
            self._steps, self._slots_read = self._look_at_each(), 0
        count = shared = 0
        found: list[Portion] = []
        # What raises in the middle ends the pass.
        steps, self._steps = self._steps, None
        for lane, read, portions in steps:
            found += portions
            count += read  # point: drain-lane
            shared += read if lane.tool is None else 0
            if shared >= _MOST_SHARED:
                self._steps = steps
                break
        if found:
            take(self, found)  # point: drain-take
        self._slots_read += count
        if not self.is_in_pass:
            self.passes_since_record = 0 if self._slots_read else self.passes_since_record + 1
            self.lanes.note_all(self._slots_read)
        self.has_news = True
        return count

    @property
    def is_in_pass(self) -> bool:
        """True when rings are left to be looked at in this pass."""
        return self._steps is not None

    def _look_at_each(self) -> Iterator[tuple[Lane, int, list[Portion]]]:
        for lane, batch in self.lanes.take_each() if self.is_dead else self.lanes.take_new():
            for step in self._drain(lane, batch):
                self.lanes.note(lane)
                yield step

    def read_rows(self, *, everywhere: bool = False) -> None:
        """Read which calls have begun, are lost, are open; *everywhere* before that is told."""
        self.rows.read(everywhere=everywhere)
        losses = self._segment.losses()
        rowless = losses.get("no_row", 0) + losses.get("no_memory", 0)
        self.begun = self.rows.begun + rowless + self.left_out.begun
        self.lost = self.rows.lost + rowless

    def take_sampled_out(self) -> list[tuple[str, int]]:
        """By tool, the calls that have ended without a record since the last time; once each."""
        news = self.left_out.take()
        self.begun += sum(count for _, count in news)
        return [(self.callee(number).tool, count) for number, count in news]

    def positions(self) -> dict[int, int]:
        """Where each ring in use is read up to, by its offset."""
        return self.lanes.positions()

    def wants_release(self) -> bool:
        """True when what is read and not released yet fills half of a ring, or a third of all."""
        return self.lanes.wants_release()

    def release(self) -> None:
        """Hand everything read so far back to the worker; only once it is in the journal."""
        self.has_news = False  # point: drain-release
        self.lanes.release()

    def losses(self) -> dict[str, int]:
        """The worker's own counters of lost calls, by cause."""
        return self._segment.losses()

    def faults(self) -> dict[str, int]:
        """The worker's own counters of faults, and what was refused in reading it."""
        counts = self._segment.faults()
        ours = {
            "refused_entries": self._segment.refused,
            "holes": self.holes,
            "incomplete_records": self.incomplete,
        }
        counts.update((cause, count) for cause, count in ours.items() if count)
        return counts

    def callee(self, number: int) -> Callee:
        """
        A line of the name table, or one that says it is unknown.

        A number that has no line once there are tools without a name is one of theirs.
        """
        found = self.callees.get(number)
        if found is None:
            self.look()
            found = self.callees.get(number, self._nameless)
        return found

    def close(self) -> None:
        """Let go of the worker's memory."""
        self._segment.close()

    def _drain(self, lane: Lane, batch: Batch | None) -> Iterator[tuple[Lane, int, list[Portion]]]:
        """
        Read *lane* at most once around; each time how many slots, and what is in them.

        Of what is read *batch* is the first, where that was done already.
        """
        left = lane.reader.size // SLOT_BYTES
        most = READ_SLOTS if lane.tool is not None else _MOST_SHARED
        while left > 0:
            if batch is None and lane.reader.has_record():
                batch = lane.reader.read(most)
            if not batch:
                if not (self.is_dead and self._pass_hole(lane)):
                    break
                batch = None
                continue
            read = len(batch)
            seen = batch.all_flags()
            if seen & _LONG:
                batch, read = self._join(lane, batch)
            portions = self._portions(lane, batch, seen) if batch else []
            if not read:
                break
            left -= read
            batch = None
            yield lane, read, portions

    def _portions(self, lane: Lane, batch: Batch, seen: int) -> list[Portion]:
        if lane.tool is not None:
            return [(lane.tool, batch, seen)]
        by_tool: dict[str, list[Slot]] = {}
        for slot in batch:
            by_tool.setdefault(self.callee(callee_of(slot[4])).tool, []).append(slot)
        return [(tool, Batch.of(share), seen) for tool, share in by_tool.items()]

    def _pass_hole(self, lane: Lane) -> bool:
        """Pass one uncommitted slot of a dead worker, if a committed one follows."""
        if not lane.reader.is_past_hole():
            return False
        self.holes += 1  # point: drain-hole
        lane.reader.advance(1)
        return True

    def _join(self, lane: Lane, batch: Batch) -> tuple[Batch, int]:
        """*batch* with parts put together, and how many slots that took."""
        slots = list(batch)
        while True:
            while chunk := lane.reader.read():
                slots += chunk
            whole, first, incomplete = _put_together(slots)
            waiting = [where for call_id, where in first.items() if not self._has_left(call_id)]
            # Who has left may have stored its last slot after the ring was read.
            if len(waiting) == len(first) or not lane.reader.has_record():
                break
        end, kept = min(waiting, default=(len(slots), len(whole)))
        self.incomplete += sum(at < kept for at in incomplete)
        if not waiting:
            return Batch.of(whole), len(slots)
        lane.reader.advance(end - len(slots))  # point: drain-parts-wait
        return Batch.of(whole[:kept]), end

    def _has_left(self, call_id: int) -> bool:
        """True when no further slot of a record in parts will come, in this ring at least."""
        if self.is_dead or call_id <= self.rows.ended.get(row_key(call_id), 0):
            return True
        if block_of(call_id) not in self.blocks:
            self.look()
        return self.rows.has_left(call_id)


def _put_together(
    slots: list[Slot],
) -> tuple[list[Slot], dict[int, tuple[int, int]], list[int]]:
    """
    Whole records; by call, where the parts of those begin whose last slot is not among *slots*.

    In both, as an index of *slots* and of the records; and the indices of those that lack a part.
    """
    whole: list[Slot] = []
    parts: dict[int, dict[int, bytes]] = {}
    first: dict[int, tuple[int, int]] = {}
    incomplete: list[int] = []
    for number, slot in enumerate(slots):
        call_id, index, start_ns, end_ns, meta, body, _ = slot
        if not meta & _PARTS:
            whole.append(slot)
        elif start_ns == end_ns == 0:
            first.setdefault(call_id, (number, len(whole)))
            parts.setdefault(call_id, {})[index] = body[: meta & LENGTH_MASK]
        else:
            first.pop(call_id, None)
            text = _joined(slot, parts.pop(call_id, {}))
            if text is None:
                incomplete.append(len(whole))
                meta &= ~(_PARTS | LENGTH_MASK)
            whole.append((*slot[:4], meta, text or b"", slot[6]))
    return whole, first, incomplete


def _joined(head: Slot, parts: dict[int, bytes]) -> bytes | None:
    """The body that begins in *head*; None when a part of it is missing."""
    meta, body = head[4], head[5]
    (count,) = _PART_COUNT.unpack_from(body)
    pieces = [parts.get(number) for number in range(1, count + 1)]
    present = [piece for piece in pieces if piece is not None]
    if len(present) != count:
        return None
    return body[_PART_COUNT.size : meta & LENGTH_MASK] + b"".join(present)


def long_body(slot: Slot) -> bytes:
    """The body of a slot whose parts have been joined, or of a plain one."""
    meta, body = slot[4], slot[5]
    return body if meta & _PARTS else body[: meta & LENGTH_MASK]
