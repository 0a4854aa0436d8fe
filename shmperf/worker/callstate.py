"""How far a call that is recorded the long way has come: what its parts look at and set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shmperf.shm.inflight import FIRST_UNRECORDED, is_lost
from shmperf.shm.record import DETAIL, FORCED, NAMED, PRUNED, UNTIMED
from shmperf.shm.segment import Fault
from shmperf.stdlib import perf_counter_ns

from . import capture
from .context import Loose, Pair, current_call, next_unrecorded, remote_above
from .failures import is_handlers
from .process import Tool, worker
from .sampler import Sampler

__all__ = ["CallState"]


class CallState:
    """
    Everything that is known of one call in its process.

    ``outer`` was current before it; ``position`` is its slot's, which lies ``shift`` bytes
    further in the segment, once that is taken; ``row`` is the word where its row begins, 0 when it
    has none any more, and ``cell`` where its parameters are shown, 0 where they are not; ``caught``
    is what is told of its exception beside the class; CPU times are -1 where nobody takes them.
    ``loose`` is what is current while the call is, where it may end anywhere.

    A call that is *sampled out* has an id of this process's own, which no record has, and no row;
    ``sampler`` counts it when it ends. What failed, or took longer than ``slow_ns``, is recorded
    all the same, with what it was ``given``; ``sample`` says so in its record.
    """

    __slots__ = (
        "_ready",
        "body",
        "call_id",
        "callee",
        "caught",
        "cell",
        "cpu_end_ns",
        "cpu_ns",
        "end_ns",
        "flags",
        "given",
        "inner",
        "is_finishing",
        "loose",
        "lost",
        "metadata",
        "outer",
        "parent",
        "position",
        "row",
        "sample",
        "sampler",
        "shift",
        "slow_ns",
        "start_ns",
        "tool",
    )

    def __init__(self, tool: Tool, callee: int) -> None:
        """A call of *tool* that has not begun."""
        self.tool = tool
        self.callee = callee
        self.outer = current_call.get()
        self.position = self.end_ns = self.call_id = self.row = self.flags = self.parent = 0
        self.start_ns = self.sample = self.slow_ns = self.shift = self.cell = 0
        self.sampler: Sampler | None = None
        self.given: tuple[tuple[Any, ...], Mapping[str, Any]] = ((), {})
        self.body = b""
        self.lost = self.is_finishing = False
        self.caught: tuple[str, str, str] | None = None
        self.metadata: dict[str, Any] | None = None
        self.cpu_ns = self.cpu_end_ns = -1
        self.loose: Loose | None = None
        # What was current inside when a generator yielded.
        self.inner: int | Pair = 0
        self._ready = worker.ready

    def annotate(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata, which optimization mode keeps."""
        if self.metadata is None:
            self.metadata = {}
        self.metadata.update(metadata)

    def forget_cpu(self) -> None:
        """The call will end in another thread than it began in, or be awaited in between."""
        self.cpu_ns = -1

    def catch(self, message: str, fingerprint: str, where: str) -> None:
        """What the record of a failing call tells of its exception, beside the class."""
        self.caught = message, fingerprint, where

    def is_passed_over(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Begin as a call of a sampled tool that is not chosen; False when it is."""
        sampler = self.tool.sampler
        if sampler is None or not sampler.passes():
            return False
        self.sampler, self.given, self.slow_ns = sampler, (args, kwargs), sampler.slow_ns
        if self.slow_ns:
            self.start_ns = perf_counter_ns()
        self.call_id = next_unrecorded()
        return True

    def is_counted(self, *, failed: bool) -> bool:
        """
        Count a call that is sampled out, once; False when it is to be recorded all the same.

        It has ended by now: it has *failed*, or took long, or it is one of many.
        """
        sampler = self.sampler
        if sampler is None or self.position:
            return True
        took_long = bool(self.slow_ns) and self.end_ns - self.start_ns > self.slow_ns
        if not failed and not took_long:
            counts, place, numbers = sampler.words, sampler.place, sampler.ended
            # One step, as a slot's is.
            for self.position in numbers:
                # point below: open-count
                counts[place] = self.position
                break  # point: open-counted
            return True
        self.sample = FORCED if self.start_ns else FORCED | UNTIMED
        self.start_ns = self.start_ns or self.end_ns
        self.capture(*self.given)
        return False

    def capture(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Take up the parameters that are recorded; what can't be is a fault."""
        try:
            body = capture.short_body(args, kwargs)
            is_cut = type(body) is capture.Cut
            if body is not None and not (is_cut and self.flags & DETAIL):
                self.body = body
                self.flags |= (NAMED if args and kwargs else 0) | (PRUNED if is_cut else 0)
                return
            take = capture.picture_all if self.flags & DETAIL else capture.picture
            taken = take(args, kwargs)
            self.body = taken.body
        except Exception as error:
            # Parameters are foreign: a mapping may raise anything.
            if is_handlers(error):
                raise
            worker.faults.count(Fault.CAPTURE_FAILED)
            return
        self.flags |= taken.flags
        for _ in range(taken.failures):
            worker.faults.count(Fault.REPR_FAILED)

    @property
    def is_sampled_out(self) -> bool:
        """True from when it has begun without a row until it is to be recorded all the same."""
        return self.call_id >= FIRST_UNRECORDED

    @property
    def id_inside(self) -> int:
        """What the calls that begin inside have as their parent; 0 for none."""
        return remote_above(self.outer) if self.is_sampled_out else self.call_id

    @property
    def is_foreign(self) -> bool:
        """True in a fork of the process in which the call began."""
        return self._ready is not worker.ready

    def count_loss(self, cause: int) -> None:
        """Mark the call as lost, once."""
        if not self.lost and not self.is_sampled_out:
            worker.losses.count_row(cause, self.row, self.call_id)  # point: loss-mark
            self.lost = True  # point: loss-marked
            worker.losses.tell()

    def notice_loss(self) -> None:
        """An end that is taken up again may have marked its loss just before it was struck."""
        if self.row and not self.is_foreign and worker.segment is not None:
            lost = is_lost(worker.segment.words, self.row, self.call_id)
            self.lost = self.lost or lost
