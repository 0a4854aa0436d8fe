"""How far a call that is recorded the long way has come: what its parts look at and set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shmperf.shm.inflight import is_lost
from shmperf.shm.segment import Loss

from .context import Loose, Pair, current_call
from .process import Tool, worker

__all__ = ["CallState"]


class CallState:
    """
    Everything that is known of one call in its process.

    ``outer`` was current before it; ``position`` is its slot's, once that is stored; ``row`` is the
    word where its row begins, 0 when it has none any more; ``caught`` is what is told of its
    exception beside the class; CPU times are -1 where nobody takes them. ``loose`` is what is
    current while the call is, where it may end anywhere.
    """

    __slots__ = (
        "_ready",
        "body",
        "call_id",
        "callee",
        "caught",
        "cpu_end_ns",
        "cpu_ns",
        "end_ns",
        "flags",
        "inner",
        "is_finishing",
        "loose",
        "lost",
        "metadata",
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

    @property
    def is_foreign(self) -> bool:
        """True in a fork of the process in which the call began."""
        return self._ready is not worker.ready

    def count_loss(self, cause: Loss) -> None:
        """Mark the call as lost, once."""
        if not self.lost:
            worker.losses.count_row(cause, self.row, self.call_id)  # point: loss-mark
            self.lost = True  # point: loss-marked
            worker.losses.tell()

    def notice_loss(self) -> None:
        """An end that is taken up again may have marked its loss just before it was struck."""
        if self.row and not self.is_foreign and worker.segment is not None:
            lost = is_lost(worker.segment.words, self.row, self.call_id)
            self.lost = self.lost or lost
