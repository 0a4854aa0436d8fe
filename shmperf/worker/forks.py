"""
The calls in which a process forks: what is noted of them, and that they tell its children.

The children look at the row (see `heritage`), and a row says nothing of its end unless somebody
writes it there. Only these calls do, so that no other call pays for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from shmperf.shm.inflight import ENDED
from shmperf.shm.segment import Segment

from .context import current_call, parent_of
from .failures import is_programs
from .grants import Grants
from .guard import Guard
from .heritage import calls_beneath
from .rows import Rows
from .tool import Tool

__all__ = ["Forks"]

_MOST_CALLS = 1_000


class Forks:
    """
    What a process that forks knows of it.

    ``calls`` are those in which it has forked: one set for good, also in its forks. ``beneath`` are
    the calls that had begun beneath the current one at the last fork.
    """

    def __init__(self, guard: Guard, tools: Mapping[str, Tool]) -> None:
        self.calls: set[int] = set()
        self.beneath: set[int] = set()
        self._guard = guard
        self._tools = tools
        self._segment: Segment | None = None
        self._rows: Rows | None = None
        self._grants: Grants | None = None

    def open(self, segment: Segment, rows: Rows, grants: Grants) -> None:
        """There are calls from now on: in *segment*, whose *rows* and *grants* these are."""
        self._segment, self._rows, self._grants = segment, rows, grants

    def forget(self) -> None:
        """In a child: its parent's calls are told by the parent."""
        self._segment = self._rows = self._grants = None
        self.calls.clear()

    def look_beneath(self) -> None:
        """Note what has begun beneath the current call: a pool's tasks know by it what is newer."""
        try:
            call_id, rows = parent_of(current_call.get()), self._rows
            if call_id and rows is not None and rows.words is not None:
                self.beneath = calls_beneath(rows.words, rows.blocks.values(), call_id)
        except Exception as error:
            # With what was noted before, tasks have no parent where there is a doubt.
            if is_programs(error):
                raise

    def note(self) -> None:
        """In the parent: the call in which the child was forked tells it when it has ended."""
        try:
            call_id = parent_of(current_call.get())
            if call_id and self._segment is not None:
                self._guard.run(self._note, _noted_nothing, call_id)
        except Exception as error:
            # The child then takes it for open until another call has its row.
            if is_programs(error):
                raise

    def _note(self, call_id: int) -> None:
        if len(self.calls) >= _MOST_CALLS:
            self.calls.clear()
        self.calls.add(call_id)
        if self._rows is None or self._grants is None:
            return
        for tool in list(self._tools.values()):
            if tool.bound is not None and self._rows.is_open(call_id, tool.callees.values()):
                # Its wrapper sees another tuple than it began with, and ends the long way.
                self._grants.bind(tool)

    def tell(self, row: int, call_id: int) -> None:
        """A call in which this process has forked ends: its row says so."""
        self.calls.discard(call_id)
        if self._segment is not None:
            self._segment.words[row + ENDED] = call_id


def _noted_nothing(_call_id: int) -> None:
    return
