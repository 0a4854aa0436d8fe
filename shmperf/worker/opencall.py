"""
A call by the long way: the recording protocol step by step, for whoever can't inline it.

Generators, blocks that may end anywhere, first calls, long parameters, failures, and whatever the
hot path and quick calls leave undone. Ending a call twice does nothing the second time, and an end
that is interrupted is taken up again, so a call is stored or counted exactly once. What is set
before what is done:

    row, id       before the row's id word is written    the call has begun
    position      as its slot is stored, one step        the call is finished
    position      as its tool's count is, one step       the call is finished, sampled out
    lost          after its loss is marked, once         the call is lost
    row = 0       before the row is handed back          the row is free
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shmperf.compiled.chosen import hot
from shmperf.shm.inflight import (
    CALLEE,
    FIRST_UNRECORDED,
    GENERATION_STEP,
    IN_DETAIL,
    PARENT,
    START,
    THREAD,
)
from shmperf.shm.record import BODY_BYTES, DETAIL, Outcome
from shmperf.shm.segment import Loss
from shmperf.stdlib import perf_counter_ns, thread_time_ns

from .boards import SLOW_NS
from .callbody import detailed_body, plain_body
from .callstate import CallState
from .context import Loose, Pair, current_call, outermost_open, parent_of
from .failures import is_programs
from .gcwatch import is_collecting
from .outcome import is_text, status_for, status_named
from .process import Route, Tool, worker
from .slots import is_stored, store_long, store_slot, suspect_hole
from .spans import spans

__all__ = ["OpenCall", "annotated", "new_call", "note_in_detail"]

_OK = Outcome.OK


class OpenCall(CallState):
    """One call, in any thread of its process."""

    __slots__ = ()

    @classmethod
    def resumed(
        cls,
        tool: Tool,
        callee: int,
        ready: list[int],
        marks: tuple[int, int, int, int, int, int, int],
    ) -> OpenCall:
        """A call begun elsewhere: row, id, parent, start, end, position and its shift so far."""
        opened = cls(tool, callee)
        opened.row, opened.call_id, opened.parent = marks[:3]
        opened.start_ns, opened.end_ns, opened.position, opened.shift = marks[3:]
        opened._ready = ready
        return opened

    def open(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        route: Route | None = None,
        *,
        timed_cpu: bool = True,
        in_order: bool = True,
    ) -> bool:
        """
        Begin the call and make it current; False when it is not recorded.

        *route* is the tool's, when the caller has asked for it already. With *timed_cpu* the call
        must end in the thread in which it began, and with *in_order* in the same context, after all
        that begins inside it.
        """
        if not self.begin(args, kwargs, route, timed_cpu=timed_cpu):
            return False
        self.enter(in_order=in_order)
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

        A call that is sampled out begins, too, and counts when it ends. The context is not touched:
        `enter` makes the call current.
        """
        try:
            tool, session = self.tool, worker.session
            if route is None:
                route = tool.route
                if session is None or tool.word != session.word[0] or not route.is_recorded:
                    route = worker.route(tool)
            if not route.is_recorded:
                return False
            self._ready = worker.ready
            if route.is_sampled and self.is_passed_over(args, kwargs):
                return True
            if route.in_detail:
                self.flags = DETAIL
            if args or kwargs:
                self.capture(args, kwargs)
            self._occupy_row(timed_cpu=timed_cpu)
        except Exception as error:
            # The tool is called whatever fails in here.
            if is_programs(error):
                raise
            self.forgo(error)
        return self.call_id != 0

    def _occupy_row(self, *, timed_cpu: bool) -> None:
        """Write the call's row, its id last; nothing where there is none."""
        row = self.row
        try:
            row = row or self._ready.pop()
        except IndexError:
            row = worker.rows.take()
        segment = worker.segment
        if not row or segment is None:
            worker.losses.count(Loss.NO_ROW)
            return
        self.row = row
        words = segment.words
        call_id = words[row] + GENERATION_STEP
        if self.body and self.tool.is_shown and not self.end_ns:
            self.show(call_id)
        outer = self.outer
        self.parent = (outer if type(outer) is int else parent_of(outer)) or spans.above()
        if timed_cpu and self.flags & DETAIL:
            self.cpu_ns = thread_time_ns()
        self.start_ns = self.start_ns or perf_counter_ns()
        words[row + START] = self.start_ns  # point: open-start
        words[row + PARENT] = self.parent
        words[row + THREAD] = 0
        words[row + CALLEE] = self.callee | (IN_DETAIL if self.flags & DETAIL else 0)
        if self.flags & DETAIL:
            annotated[call_id] = self.annotate
        self.call_id = call_id  # point: open-marks
        words[row] = call_id  # point: open-id

    def show(self, call_id: int) -> None:
        """Let the parameters be seen while the call, whose id that is, is open."""
        boards = worker.boards
        try:
            if not self.cell:
                # One line, as a slot's: a cell that is taken and not noted is never given back.
                for self.cell in boards.free():
                    break  # point: board-taken
            if self.cell:
                boards.write(self.cell, call_id, self.flags, self.body)
        except (IndexError, RecursionError, MemoryError):
            # No cell, or no room for a frame: the call is there without.
            return

    def forgo(self, error: Exception) -> None:
        """Count as lost what has failed to begin; where it has begun all the same, it only ends."""
        worker.faults.note(error)
        if self.call_id:
            self.count_loss(Loss.INTERNAL)
        else:
            self.free_row()
            worker.losses.count(Loss.NO_ROW, is_refused=True)

    def enter(self, *, in_order: bool = True) -> None:
        """Make the call current in this context; *in_order* as for `open`."""
        try:
            if is_collecting():
                return
            if in_order:
                current_call.set(self.id_inside)
            else:
                self.loose = Loose(self.call_id, self.outer)
                self.loose.enter()
        except Exception as error:
            # A call that is not current has no children; it is made all the same.
            if is_programs(error):
                raise

    def leave(self) -> None:
        """Restore what was current before `enter`, if the call still is."""
        try:
            self._leave()
        except Exception as error:
            # Once more, as the call would stay current for good.
            if is_programs(error):
                raise
            try:
                self._leave()
            except MemoryError:
                # What ends around it restores its own.
                return

    def _leave(self) -> None:
        if not is_collecting():
            current_call.set(self.outer_now())

    def outer_now(self) -> int | Pair:
        """What is current once the call has ended: what was before, if the call still is."""
        now = current_call.get()
        return self.restored(self.outer) if self._holds(now) else now

    def restored(self, outer: int | Pair) -> int | Pair:
        """What is current again after the call, which began under *outer*: that may have ended."""
        outer = outermost_open(outer)
        if worker.heritage is None or not self.is_foreign:
            return outer
        # It was current before the fork; what was adopted since is the parent, whoever's it is.
        return worker.heritage.of(outer)

    def innermost(self) -> int | Pair:
        """What is current inside the call; 0 when nothing of it is."""
        now = current_call.get()
        return now if self._holds(now) else 0

    def _holds(self, now: int | Pair) -> bool:
        """True when *now* is the call itself, or one that began inside and may end anywhere."""
        while isinstance(now, Pair) and now.call_id != self.call_id:
            if self.loose is not None and isinstance(now, Loose) and now.is_open:
                # Both may end in any order.
                return False
            now = now.outer
        if isinstance(now, Pair):
            return self.call_id != 0 and now.call_id == self.call_id
        # A call that is sampled out leaves nobody current, where it ends in order.
        held = self.id_inside if self.loose is None else self.call_id
        return self.call_id != 0 and now == held

    def describe(self, params: Mapping[str, Any]) -> None:
        """Capture parameters that were not known at the beginning."""
        if self.is_sampled_out:
            self.given = (), params
        elif params and not self.end_ns:
            self.capture((), params)
            if self.row and self.tool.is_shown and not self.is_foreign:
                self.show(self.call_id)

    def end(self, error: BaseException | str | None = None) -> None:
        """
        Store the call, or count it as lost, and free its row; only the first time.

        An interruption in the middle is taken up where it struck, then passed on.
        """
        try:
            if self.end_ns:
                self.notice_loss()
            self._end(error)
        except BaseException as struck:
            # An interruption is taken up, and passed on.
            suspect_hole(self.tool)
            self._end_again(error)
            if is_programs(struck):
                raise

    def _end_again(self, error: BaseException | str | None) -> None:
        try:
            self.notice_loss()
            self._end(error)
        except Exception as struck:
            # The second in a row; the caller of the tool hears of none of ours.
            if is_programs(struck):
                raise
            # It can't be stored, whatever it is that fails.
            worker.faults.note(struck)
            self.count_loss(Loss.INTERNAL)
            if self.is_sampled_out:
                self.slow_ns = 0
                self.is_counted(failed=False)
            self.free_row()

    def free_row(self) -> None:
        """Hand the row back, if there is one: nothing more begins inside the call."""
        if self.loose is not None:
            self.loose.is_open = False
        row = self.row
        if row:
            if self.call_id in worker.forked_in:
                worker.forks.tell(row, self.call_id)
            if self.cell:
                cell, self.cell = self.cell, 0
                worker.boards.give_back(cell)
            self.row = 0
            self._ready.append(row)  # point: end-row-free

    def abandon(self) -> None:
        """Leave the call to the process that it began in: this one is a fork of it."""
        self.row = self.cell = 0
        self.lost = True
        self.free_row()

    def _end(self, error: BaseException | str | None) -> None:
        if self._ready is not worker.ready:
            self.abandon()
            return
        if not self.end_ns:
            self.end_ns = perf_counter_ns()  # point: end-clock
            if self.cpu_ns >= 0:
                self.cpu_end_ns = thread_time_ns()
        if self.call_id >= FIRST_UNRECORDED:
            if self.is_counted(failed=error is not None):
                return
            # It is recorded all the same, or lost for want of a row.
            self._occupy_row(timed_cpu=False)  # point: end-forced
            self.lost = not self.row
        elif self.start_ns:
            self.tool.is_shown = self.end_ns - self.start_ns >= SLOW_NS
        if self.position and not is_stored(self):
            # Taken, and then the store failed: it is the ring's hole, for this record or another.
            self.position = 0
        if not self.position and not self.lost:
            status = _OK if error is None else _status_for(error)
            # An exit that says that all is well tells of no error.
            error = None if status == _OK else error
            body = _recorded(self, error)
            if len(body) <= BODY_BYTES:
                stored = store_slot(self, status | self.flags, body)
            else:
                stored = store_long(self, status, body)
            if not stored:
                self.count_loss(Loss.RE_ENTERED if worker.guard.is_busy else Loss.RING_FULL)
        if self.flags & DETAIL:
            annotated.pop(self.call_id, None)  # point: end-stored
        self.free_row()


def _recorded(call: CallState, error: BaseException | str | None) -> bytes:
    if not call.flags & DETAIL:
        return plain_body(call.body, error, call.caught)
    times_ns = call.start_ns, call.end_ns, call.cpu_ns, call.cpu_end_ns
    return detailed_body(call.body, times_ns, error, call.metadata, call.caught)


def new_call(tool: Tool, callee: int) -> OpenCall:
    """A call of *tool* that has not begun; one that never does where there is no memory for it."""
    try:
        return OpenCall(tool, callee)
    except Exception as error:
        # No memory, perhaps.
        if is_programs(error):
            raise
        return _never


# What adds to the metadata of an open call in detail, by its id; a dict's operations are atomic. Of
# those that have begun in C, C knows.
annotated: dict[int, Callable[[Mapping[str, Any]], None]] = {}


def note_in_detail(call_id: int, metadata: Mapping[str, Any]) -> None:
    """Add to the metadata of the open call of that id, if there is one in detail."""
    annotate = annotated.get(call_id)
    if annotate is None and hot is not None and (call := hot.in_detail(call_id)) is not None:
        annotate = call._note
    if annotate is not None:
        annotate(metadata)


class _NeverCall(OpenCall):
    """What stands in for a call that can't be recorded."""

    __slots__ = ()

    def begin(self, *_: object, **__: object) -> bool:
        """It never begins."""
        return False


_never = _NeverCall(Tool(""), 0)


def _status_for(error: Any) -> int:
    return status_named(error) if is_text(error) else status_for(error)
