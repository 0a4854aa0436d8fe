"""
A fleet as a session that one looks at: the same questions, so that views show it as they are.

    States ──► Look, at most once in `_FRESH_S`, for all who ask ──► FleetAnswers ──► top, serve

A node stands where a worker does, and what is open on it is its own. What only a session has, a
history of single calls, a mode to switch, runs and cleanups, a fleet has not: that is said, and
looked for on the node.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from heapq import nlargest
from pathlib import Path
from typing import Any

import msgspec

from shmperf.analysis.exemplars import Exemplar
from shmperf.analysis.failures import ErrorsKnown
from shmperf.analysis.shownalert import ShownAlert
from shmperf.analysis.spans import IntervalsView
from shmperf.analysis.stats import Figures, plain
from shmperf.analysis.treestate import Edge
from shmperf.config.options import Options
from shmperf.errors import SessionError
from shmperf.query.answers import Answers
from shmperf.session.messages import (
    CollectorStatus,
    OpenCallAnswer,
    Question,
    SessionStatus,
    WorkerStatus,
)
from shmperf.storage.failing import ErrorGroup
from shmperf.storage.kept import KeptCall
from shmperf.storage.reading import EVERYTHING
from shmperf.storage.segmentfile import Window

from .asking import Look, NodeRow, States
from .trends import FleetIntervals

__all__ = ["FleetAnswers", "Source"]

_FRESH_S = 1.0
_NAMES_SHOWN = 3
_NOT_HERE = "a fleet only shows: ask on the node itself"


class FleetAnswers(Answers):
    """What one `Look` holds, as answers; any thread."""

    def __init__(self, look: Look, shown: str) -> None:
        """*shown* says whose fleet it is, without a password."""
        super().__init__(Path(f"fleet at {shown}"), Options(), None)
        self._look = look
        self._shown = shown
        rows = [row for row in look.rows if row.state not in {"ended", "gone"}]
        self._numbers = {(row.node, row.origin): place for place, row in enumerate(rows, 1)}
        self._rows = rows

    def ask(self, question: Question, timeout_s: float = 0.0) -> Any:  # noqa: ARG002  as Answers
        """SessionError: there is no one collector."""
        raise SessionError(_NOT_HERE)

    def stats(self, tool: str | None = None) -> dict[str, Any]:
        """The statistics of all nodes, with a row a node."""
        return plain(self._look.stats() if tool is None else self._look.tool(tool))

    def figures(self) -> Figures:
        """What the statistics of all tools are made of."""
        found = self._look.merged.figures()
        books = msgspec.structs.replace(found.books, complete=self._look.is_complete)
        return msgspec.structs.replace(found, books=books)

    def tree(self) -> list[Edge]:
        """The graph from tool to tool."""
        return self._look.merged.tree()

    def intervals(
        self, tool: str | None = None, since_s: float | None = None, until_s: float | None = None
    ) -> IntervalsView:
        """What all nodes did in every interval of the last hour, as far as they told it."""
        views = self._look.trends
        return FleetIntervals(views=views, tool=tool, since_s=since_s, until_s=until_s)

    def alerts(self) -> list[ShownAlert]:
        """What is wrong now; what has been is in each node's own file."""
        return [*self._look.merged.alerts]

    def in_flight(self) -> list[OpenCallAnswer]:
        """The calls that are open now, as many of each node as it tells of, the oldest first."""
        found = []
        for node, origin, call in self._look.merged.open:
            number = self._numbers.get((node, origin))
            if number is None:
                continue
            # Ids are a storage's own: two nodes may have the same.
            parent = None if call.parent is None else f"{number}/{call.parent}"
            found.append(
                msgspec.structs.replace(
                    call, id=f"{number}/{call.id}", parent=parent, pid=number, node=node
                )
            )
        return found

    def status(self, *, with_sizes: bool = True) -> SessionStatus:  # noqa: ARG002  as Answers
        """How the nodes are, each as if it were a worker."""
        books = self._look.merged.books
        is_live = any(row.state == "up" for row in self._rows)
        return SessionStatus(
            session=f"fleet of {len({row.node for row in self._rows}):,} nodes",
            storage=self._shown,
            mode=self.mode(),
            collector=CollectorStatus(pid=0, uptime_s=0.0, records=0) if is_live else None,
            storage_state=_state_of(self._rows),
            workers=[_as_worker(row, self._numbers[row.node, row.origin]) for row in self._rows],
            begun=books.begun,
            lost=books.lost_by_cause(),
            faults=books.faults,
            told={},
            unusual=[],
            rag=None,
            alerts=self.alerts(),
        )

    def errors(self) -> ErrorsKnown:
        """Every failed call, in groups."""
        return self._look.merged.known_errors()

    def mode(self) -> str:
        """Optimization where any node records so."""
        return "optimization" if self._look.merged.books.optimization else "normal"

    def history(
        self,
        tool: str | None = None,  # noqa: ARG002  as Answers
        is_wanted: Callable[[bytes], bool] | None = None,  # noqa: ARG002  the same
        window: Window = EVERYTHING,  # noqa: ARG002  the same
    ) -> Iterator[dict[str, Any]]:
        """Nothing: lines are on the nodes, and in what was collected."""
        return iter(())

    def exemplar(self, call_id: str) -> Exemplar | None:  # noqa: ARG002  as Answers
        """None: what lay below a call is on its node."""
        return None

    def slowest(self, most: int, tool: str | None = None) -> list[KeptCall]:
        """The *most* slowest calls of all nodes."""
        return [*self._look.merged.slowest(most, tool)]

    def error_groups(self, tool: str | None = None) -> list[ErrorGroup]:
        """Failed calls in groups, the largest first, and where they failed."""
        return [*self._look.merged.errors(tool)]


class Source:
    """Finds answers for all who ask, whichever thread they are in."""

    def __init__(
        self, states: States, shown: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._states = states
        self._shown = shown
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_s = float("-inf")
        self._known: Look | None = None

    def find(self) -> FleetAnswers:
        """What is to be seen now, or a moment ago; raises what the engine raises."""
        with self._lock:
            if self._known is None or self._clock() - self._looked_s >= _FRESH_S:
                self._known = self._states.look()
                self._looked_s = self._clock()
            return FleetAnswers(self._known, self._shown)


def _as_worker(row: NodeRow, number: int) -> WorkerStatus:
    return WorkerStatus(
        pid=number,
        memory_bytes=row.memory_bytes,
        cpu_percent=row.cpu_percent,
        threads=row.threads,
        name=row.node if row.state == "up" else f"{row.node} ({row.state})",
    )


def _state_of(rows: list[NodeRow]) -> str:
    """What is the matter, in a line."""
    wrong = [row for row in rows if row.state in {"silent", "unreadable"} or row.problem]
    shown = nlargest(_NAMES_SHOWN, wrong, key=lambda row: row.age_s)
    said = [f"{row.node}: {row.problem or f'silent for {row.age_s:.0f} s'}" for row in shown]
    more = len(wrong) - len(shown)
    return "; ".join(said) + (f"; and {more} more nodes" if more else "") or "ok"
