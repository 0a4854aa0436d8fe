"""
A call by the long way: the recording protocol step by step, for whoever can't inline it.

Context managers, coroutines, generators, pairs, optimization mode, first calls and whatever the hot
path leaves undone. Ending a call twice does nothing the second time, and an end that is interrupted
is taken up again, so a call is stored or counted exactly once. What is set before what is done:

    row, id       before the row's id word is written    the call has begun
    position      as its slot is stored, one step        the call is finished
    lost          after its loss is marked, once         the call is lost
    row = 0       before the row is handed back          the row is free
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from struct import Struct
from time import perf_counter_ns, thread_time_ns
from typing import Any

import msgspec

from shmperf.shm.inflight import CALLEE, GENERATION_STEP, PARENT, START, is_lost
from shmperf.shm.record import BLOCK, BODY_BYTES, DETAIL, NAMED, PARTS, PRUNED, SLOT, Status, seal
from shmperf.shm.segment import Fault, Loss

from . import capture
from .context import Pair, current_call, parent_of
from .gcwatch import is_collecting
from .process import Route, Tool, worker

__all__ = ["OpenCall", "open_in_detail"]

_OK = int(Status.OK)
_store = SLOT.pack_into
_encode = msgspec.msgpack.Encoder().encode
_PART_COUNT = Struct("<H")
_MOST_PARTS = 1024


class OpenCall:
    """One call, in any thread of its process."""

    __slots__ = (
        "_cpu_end_ns",
        "_cpu_ns",
        "_metadata",
        "_ready",
        "body",
        "call_id",
        "callee",
        "caught",
        "end_ns",
        "flags",
        "is_finishing",
        "lost",
        "outer",
        "parent",
        "position",
        "row",
        "start_ns",
        "tool",
    )

    def __init__(self, tool: Tool, callee: int) -> None:
        """A call of *tool* that has not begun."""
        self.tool = tool
        self.callee = callee
        self.outer = current_call.get()
        self.position = self.end_ns = self.call_id = self.row = self.flags = self.parent = 0
        self.start_ns = 0
        self.body = b""
        self.lost = self.is_finishing = False
        self.caught: tuple[str, str, str] | None = None
        self._metadata: dict[str, Any] | None = None
        self._cpu_ns = self._cpu_end_ns = -1
        self._ready = worker.ready

    @classmethod
    def resumed(
        cls, tool: Tool, callee: int, ready: list[int], marks: tuple[int, int, int, int, int, int]
    ) -> OpenCall:
        """A call that a wrapper began: its row, id, parent, start, end and position so far."""
        opened = cls(tool, callee)
        opened.row, opened.call_id, opened.parent = marks[:3]
        opened.start_ns, opened.end_ns, opened.position = marks[3:]
        opened._ready = ready
        return opened

    def open(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        route: Route | None = None,
        *,
        timed_cpu: bool = True,
    ) -> bool:
        """
        Begin the call and make it current; False when it is not recorded.

        *route* is the tool's, when the caller has asked for it already. With *timed_cpu* the call
        must end in the thread in which it began.
        """
        if not self.begin(args, kwargs, route, timed_cpu=timed_cpu):
            return False
        self.enter()
        return True

    def close(self, error: BaseException | None = None) -> None:
        """End the call and restore the context; nothing when it did not begin."""
        if self.call_id:
            try:
                self.end(error)
            finally:
                self.leave()

    def begin(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        route: Route | None = None,
        *,
        timed_cpu: bool = False,
    ) -> bool:
        """
        Capture the parameters and occupy a row; False when the call is not recorded.

        It does not touch the context: `enter` makes the call current.
        """
        if route is None:
            route = worker.route(self.tool)
        if not route.is_recorded:
            return False
        self._ready = worker.ready
        if route.in_detail:
            self.flags = DETAIL
        if args or kwargs:
            self._capture(args, kwargs)
        try:
            row = self._ready.pop()
        except IndexError:
            row = worker.rows.take()
        segment = worker.segment
        if not row or segment is None:
            if segment is not None:
                segment.count_loss(Loss.NO_ROW)
            return False
        words = segment.words
        outer = self.outer
        self.parent = outer if type(outer) is int else parent_of(outer)
        if timed_cpu and route.in_detail:
            self._cpu_ns = thread_time_ns()
        self.start_ns = perf_counter_ns()
        call_id = words[row] + GENERATION_STEP
        words[row + START] = self.start_ns  # point: open-start
        words[row + PARENT] = self.parent
        words[row + CALLEE] = self.callee
        if route.in_detail:
            _in_detail[call_id] = self
        self.row, self.call_id = row, call_id  # point: open-marks
        words[row] = call_id  # point: open-id
        return True

    def enter(self) -> None:
        """Make the call current in this context."""
        if not is_collecting():
            current_call.set(self.call_id)

    def leave(self) -> None:
        """Restore what was current before `enter`, if the call still is."""
        if not is_collecting():
            current_call.set(self.outer_now())

    def outer_now(self) -> int | Pair:
        """What is current once the call has ended: what was before, if the call still is."""
        now = innermost = current_call.get()
        while isinstance(now, Pair):
            now = now.outer
        return self.outer if self.call_id and now == self.call_id else innermost

    def describe(self, params: Mapping[str, Any]) -> None:
        """Capture parameters that were not known at the beginning."""
        if params and not self.end_ns:
            self._capture((), params)

    def annotate(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata, which optimization mode keeps."""
        if self._metadata is None:
            self._metadata = {}
        self._metadata.update(metadata)

    def forget_cpu(self) -> None:
        """The call will end in another thread than it began in, or be awaited in between."""
        self._cpu_ns = -1

    def catch(self, message: str, fingerprint: str, where: str) -> None:
        """What the record of a failing call tells of its exception, beside the class."""
        self.caught = message, fingerprint, where

    def end(self, error: BaseException | str | None = None) -> None:
        """
        Store the call, or count it as lost, and free its row; only the first time.

        An interruption in the middle is taken up where it struck, then passed on.
        """
        if self.end_ns:
            self._notice_loss()
        else:
            self.end_ns = perf_counter_ns()  # point: end-clock
            if self._cpu_ns >= 0:
                self._cpu_end_ns = thread_time_ns()
        try:
            self._end(error)
        except BaseException:
            # An interruption is taken up, and passed on.
            self._notice_loss()
            self._end(error)
            raise

    def _notice_loss(self) -> None:
        """An end that is taken up again may have marked its loss just before it was struck."""
        if self.row and not self.is_foreign and worker.segment is not None:
            lost = is_lost(worker.segment.words, self.row, self.call_id)
            self.lost = self.lost or lost

    def abandon(self) -> None:
        """Leave the call to the process that it began in: this one is a fork of it."""
        self.row = 0
        self.lost = True

    @property
    def is_foreign(self) -> bool:
        """True in a fork of the process in which the call began."""
        return self._ready is not worker.ready

    def _end(self, error: BaseException | str | None) -> None:
        if self._ready is not worker.ready:
            self.abandon()
            return
        if not self.position and not self.lost:
            status = _OK if error is None else _status_for(error)
            body = self._detailed(error) if self.flags & DETAIL else self._plain(error)
            if len(body) <= BODY_BYTES:
                stored = self._store_slot(status | self.flags, body)
            else:
                stored = self._store_long(status, body)
            if not stored:
                self._count_loss(Loss.RE_ENTERED if worker.is_busy else Loss.RING_FULL)
        if self.flags & DETAIL:
            _in_detail.pop(self.call_id, None)  # point: end-stored
        if self.row:
            row = self.row
            self.row = 0
            self._ready.append(row)  # point: end-row-free

    def _capture(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        try:
            body = capture.short_body(args, kwargs)
            is_cut = type(body) is capture.Cut
            if body is not None and not (is_cut and self.flags & DETAIL):
                self.body = body
                self.flags |= (NAMED if args and kwargs else 0) | (PRUNED if is_cut else 0)
                return
            take = capture.picture_all if self.flags & DETAIL else capture.picture
            self.body, flags, failures = take(args, kwargs)
        except Exception:  # noqa: BLE001  parameters are foreign: a mapping may raise anything
            worker.count_fault(Fault.CAPTURE_FAILED)
            return
        self.flags |= flags
        for _ in range(failures):
            worker.count_fault(Fault.REPR_FAILED)

    def _plain(self, error: BaseException | str | None) -> bytes:
        if error is None:
            return self.body
        name = error.partition(":")[0] if isinstance(error, str) else capture.error_class(error)
        return capture.failed_body(self.body, name[:200], *(self.caught or ()))

    def _detailed(self, error: BaseException | str | None) -> bytes:
        cpu = None
        if self._cpu_ns >= 0:
            spent, elapsed = self._cpu_end_ns - self._cpu_ns, self.end_ns - self.start_ns
            cpu = 100.0 * spent / elapsed if spent < elapsed else 100.0
        name = text = None
        if error is not None:
            name = (
                error.partition(":")[0] if isinstance(error, str) else capture.error_class(error)
            )[:200]
            text = capture.error_text(error)
        params = msgspec.Raw(self.body) if self.body else None
        metadata = self._encoded_metadata() if self._metadata else None
        found = (params, _memory.read(self.end_ns), cpu, name, text, metadata)
        return _encode(found if self.caught is None else (*found, *self.caught[1:]))

    def _encoded_metadata(self) -> msgspec.Raw | None:
        try:
            return msgspec.Raw(capture.picture_all((), self._metadata or {}).body)
        except Exception:  # noqa: BLE001  metadata is foreign
            worker.count_fault(Fault.METADATA_FAILED)
            return None

    def _count_loss(self, cause: Loss) -> None:
        if not self.lost:
            worker.count_loss(cause, self.row, self.call_id)  # point: loss-mark
            self.lost = True  # point: loss-marked

    def _store_long(self, status: int, body: bytes) -> bool:
        if len(body) <= self._most_in_parts():
            return self._store_parts(status, body)
        return self._store_blob(status, body)

    def _most_in_parts(self) -> int:
        lane = self.tool.lane
        slots = lane.writer.slots // 4 if lane else 0
        return min(slots, _MOST_PARTS) * BODY_BYTES - _PART_COUNT.size

    def _store_parts(self, status: int, body: bytes) -> bool:
        first = BODY_BYTES - _PART_COUNT.size
        rest = [body[at : at + BODY_BYTES] for at in range(first, len(body), BODY_BYTES)]
        kind = status | self.flags | PARTS
        for number, part in enumerate(rest, 1):
            if not self._store_part(kind, part, number):  # point: parts-next
                return False
        head = _PART_COUNT.pack(len(rest)) + body[:first]
        return self._store_slot(kind, head)  # point: parts-head

    def _store_blob(self, status: int, body: bytes) -> bool:
        segment = worker.segment
        name = segment.add_blob(body) if segment is not None else None
        if name is None:
            self._count_loss(Loss.TOO_LARGE)
            return False
        named = _encode((name, len(body)))  # point: blob-name
        return self._store_slot(status | self.flags | BLOCK, named)

    def _store_slot(self, kind: int, body: bytes) -> bool:
        """Store the slot that makes the call finished, and mark it so."""
        segment = worker.segment
        if segment is None:
            return False
        call_id, parent, start, end = self.call_id, self.parent, self.start_ns, self.end_ns
        meta = self.callee << 16 | kind << 8 | len(body)
        if segment.sealed:
            meta = seal((call_id, parent, start, end), meta, body)
        buffer, lane = segment.buffer, self.tool.lane
        while lane is not None:
            positions, shift = lane.writer.current
            # One line: nothing may come between taking a position and storing it.
            for self.position in positions:
                # point below: open-slot-store
                _store(buffer, self.position + shift, call_id, parent, start, end, meta, body, self.position)  # fmt: skip  # noqa: E501
                return True  # point: open-begun
            if not worker.refill(self.tool, positions):
                return False
        return False

    def _store_part(self, kind: int, body: bytes, number: int) -> bool:
        """Store a later part of a record, which has its number and no times."""
        segment = worker.segment
        if segment is None:
            return False
        call_id = self.call_id
        meta = self.callee << 16 | kind << 8 | len(body)
        if segment.sealed:
            meta = seal((call_id, number, 0, 0), meta, body)
        buffer, lane = segment.buffer, self.tool.lane
        while lane is not None:
            positions, shift = lane.writer.current
            for position in positions:
                # point below: part-store
                _store(buffer, position + shift, call_id, number, 0, 0, meta, body, position)
                return True
            if not worker.refill(self.tool, positions):
                return False
        return False


# Open calls that keep metadata, by id; a dict's own operations are atomic.
_in_detail: dict[int, OpenCall] = {}


def open_in_detail(call_id: int) -> OpenCall | None:
    """The open call of that id in this process, if it is recorded in detail."""
    return _in_detail.get(call_id)


def _status_for(error: BaseException | str) -> int:
    return capture.status_named(error) if isinstance(error, str) else capture.status_for(error)


class _Memory:
    """Resident memory of this process; a fork opens a file of its own."""

    def __init__(self) -> None:
        self._fd = self._pid = -1
        self._good_until_ns = 0
        self._bytes: int | None = None

    def read(self, now_ns: int) -> int | None:
        """Bytes, at most 50 µs old at *now_ns*; None where the system does not tell."""
        if now_ns < self._good_until_ns and self._pid == worker.pid:
            return self._bytes
        try:
            if self._pid != worker.pid:
                self._fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
                self._pid = worker.pid
            pages = os.pread(self._fd, 64, 0).split(b" ", 2)[1]
            self._bytes = int(pages) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            self._bytes = None
        self._good_until_ns = now_ns + _MEMORY_AGE_NS
        return self._bytes


_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# Parents end right after their children: reading anew for each costs a system call for nothing.
_MEMORY_AGE_NS = 50_000
_memory = _Memory()
