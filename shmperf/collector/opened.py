"""
What is told of the calls that are open: how long, called by whom, with which parameters.

A caller is known while it is open itself, in whichever process that is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from shmperf.session.messages import OpenCallAnswer
from shmperf.shm.board import Shown
from shmperf.shm.inflight import OpenRow
from shmperf.shm.record import Callee

from .drain import WorkerDrain
from .parts import Parts

__all__ = ["open_calls"]

# Callers that are named, those next to the call: rows are not believed, and may name each other.
_MOST_CALLERS = 32


def open_calls(parts: Parts) -> list[OpenCallAnswer]:
    """Every open call, the one that has been open for longest first."""
    now_ns, offset_ns = time.perf_counter_ns(), parts.wall.offset_ns
    opened = parts.roster.open_calls()
    chains, shown = _Chains(opened), _shown(opened)
    rows = [
        OpenCallAnswer(
            id=f"{row.id:016x}",
            tool=worker.callee(row.callee).tool,
            pid=worker.pid,
            parent=f"{row.parent:016x}" if row.parent else None,
            started=(row.start_ns + offset_ns) / 1e9,
            running_s=max(0.0, (now_ns - row.start_ns) / 1e9),
            chain=chains.above(row.parent),
            params=_params(parts, shown.get(row.id), worker.callee(row.callee)),
            thread=row.thread,
        )
        for worker, row in opened
    ]
    return sorted(rows, key=lambda row: -row.running_s)


def _shown(opened: list[tuple[WorkerDrain, OpenRow]]) -> dict[int, Shown]:
    """By id, what was written down when the call began."""
    found: dict[int, Shown] = {}
    ids = {row.id for _, row in opened}
    for worker in {worker.name: worker for worker, _ in opened}.values():
        found |= worker.board.shown(ids)
    return found


def _params(parts: Parts, shown: Shown | None, callee: Callee) -> str | None:
    return None if shown is None else parts.bodies.params_of(shown, callee)


class _Chains:
    """Who has called whom, by the rows of one look; siblings share what lies above them."""

    def __init__(self, opened: list[tuple[WorkerDrain, OpenRow]]) -> None:
        self._callers: Mapping[int, tuple[str, int]] = {
            row.id: (worker.callee(row.callee).tool, row.parent) for worker, row in opened
        }
        self._known: dict[int, list[str]] = {}

    def above(self, parent: int) -> list[str]:
        """The names from the outermost caller that is open down to *parent*."""
        known = self._known.get(parent)
        if known is None:
            known = self._known[parent] = list(self._from(parent))[::-1]
        return known

    def _from(self, parent: int) -> Iterator[str]:
        for _ in range(_MOST_CALLERS):
            caller = self._callers.get(parent)
            if caller is None:
                return
            tool, parent = caller
            yield tool
