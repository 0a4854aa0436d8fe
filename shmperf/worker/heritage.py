"""
The call in which a process was forked, as the child sees it: its parent, for as long as it is open.

A fork copies what is current. What the child does then is done for that call, which mostly waits
for it. But a pool's worker or a daemon lives on, with tasks that others hand over, and a call that
ended long ago would be their parent for good. So the child looks into the memory of the process
that it was forked from, at that call's row:

    the id is another          another call stands there now: it has ended
    `ENDED` is the id          it has ended; written only for calls in which a fork was made
    a row names it as parent   and did not at the fork: in a pool, that call may have handed over
                               the task, or this one

No parent is better than a wrong one. What a process was given by `adopt` can't be looked up: it is
the parent of what it starts, and not of a pool's tasks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from shmperf.shm.inflight import ENDED, PARENT, ROW_WORDS, ROWS, row_in
from shmperf.stdlib import os

from .context import Pair, parent_of
from .rows import Rows

__all__ = ["Heritage", "calls_beneath"]

# Modules whose functions run other people's tasks in processes that they have forked.
_POOLS = frozenset({"concurrent.futures.process", "multiprocessing.pool"})


class Heritage:
    """What a forked process knows of the calls of those that it descends from."""

    __slots__ = ("_former",)

    def __init__(self, rows: Rows, older: Heritage | None) -> None:
        """In the child, of the *rows* of its parent, and what that one had itself."""
        self._former = [_Former(rows.words, rows.blocks)] if rows.words is not None else []
        if older is not None:
            for former in older._former:
                former.parent_pid = 0
            self._former += older._former

    def at_fork(self, value: int | Pair, beneath: set[int]) -> int | Pair:
        """What was current at the fork, with those *beneath* it then, as it is from then on."""
        known = self.of(value)
        if isinstance(known, Inherited) and known is not value:
            known.beneath = beneath
        call_id = parent_of(known)
        return Inherited(call_id) if call_id and known is value else known

    def of(self, value: int | Pair) -> int | Pair:
        """*value* as it is current here: a call of a former process is, while it is open there."""
        if isinstance(value, Inherited):
            return value
        call_id = parent_of(value)
        for former in self._former:
            row = row_in(former.blocks, call_id) if call_id else 0
            if row:
                return Inherited(call_id, former, row)
        return value


class _Former:
    """The rows of a process that this one was forked from; its pid, if it is the parent itself."""

    __slots__ = ("blocks", "parent_pid", "words")

    def __init__(self, words: memoryview, blocks: dict[int, int]) -> None:
        self.words = words
        self.blocks = blocks
        self.parent_pid = os.getppid()


class Inherited(Pair):
    """A call of a former process; open as long as it is open there, and may wait for this one."""

    __slots__ = ("_former", "_row", "beneath")

    def __init__(self, call_id: int, former: _Former | None = None, row: int = 0) -> None:
        """A call in that *row* of a *former* process; None for one that was adopted there."""
        super().__init__(call_id, 0)
        self._former, self._row = former, row
        self.beneath: set[int] = set()

    @property
    def is_open(self) -> bool:
        """Whether it is the parent of what begins now."""
        former = self._former
        if former is None:
            return not _serves_a_pool()
        words = former.words
        if former.parent_pid and former.parent_pid != os.getppid():
            return False  # killed in the middle
        if words[self._row] != self.call_id or words[self._row + ENDED] == self.call_id:
            return False
        if not _serves_a_pool():
            return True
        return calls_beneath(words, former.blocks.values(), self.call_id) <= self.beneath

    @is_open.setter
    def is_open(self, _: bool) -> None:
        """It is the other process that ends it."""


def calls_beneath(words: memoryview, blocks: Iterable[int], call_id: int) -> set[int]:
    """
    The calls that began beneath that one, as far as no others stand in their rows yet.

    The parent looks before it forks: a child may first run when others have begun.
    """
    found: set[int] = set()
    for first in blocks:
        rows = words[first : first + ROWS * ROW_WORDS].tolist()
        pairs = zip(rows[::ROW_WORDS], rows[PARENT::ROW_WORDS], strict=True)
        found.update(below for below, parent in pairs if parent == call_id)
    return found


def _serves_a_pool() -> bool:
    """True in a process that a pool has forked to run tasks."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is None:
        return False
    target = getattr(processes.current_process(), "_target", None)
    return getattr(target, "__module__", None) in _POOLS
