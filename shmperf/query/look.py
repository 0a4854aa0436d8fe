"""
All that a live view shows, in one piece, as often as it looks: `Watch` makes a `Look` each time.

    collector's answers ──► Figures, status, tree, open calls ──► Look
    storage at rest     ──►                                        ▲
    what the last look saw ──► calls a second ─────────────────────┘

A look never raises what a session may do meanwhile: end, start again, be of another version, lose
its directory. It says so in ``problem`` and shows what was seen last.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

import msgspec

from shmperf.analysis.shownalert import ShownAlert
from shmperf.analysis.stats import Figures
from shmperf.analysis.totals import Totals
from shmperf.analysis.treestate import Edge
from shmperf.errors import ShmperfError
from shmperf.session.messages import OpenCallAnswer, RunStatus, SessionStatus

from .answers import Answers

__all__ = ["MOST_OPEN", "MOST_RATES", "Look", "ToolLook", "Watch", "WorkerLook"]

# Of open calls the oldest; all of them are counted.
MOST_OPEN = 200
# So many looks back reaches what a sparkline shows.
MOST_RATES = 60


class ToolLook(msgspec.Struct, kw_only=True):
    """
    A tool: its counts since the last cleanup, and ``rate``, calls a second since the last look.

    ``own_share`` is the part (0 to 1) of all tools' own time that is this one's. Quantiles are None
    where no call was timed, ``rate`` at the first look.
    """

    tool: str
    count: int
    rate: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    errors: int
    aborted: int
    own_share: float
    in_flight: int


class WorkerLook(msgspec.Struct, kw_only=True):
    """
    A worker: what the system says of it, and what it does now.

    ``doing`` is the id of the innermost call that has been open for longest, None while it calls no
    tool; ``in_flight`` counts all open ones. One with a ``name`` is a node of a fleet.
    """

    pid: int
    memory_bytes: int | None
    cpu_percent: float | None
    threads: int | None
    doing: str | None
    in_flight: int
    name: str | None = None


class Look(msgspec.Struct, kw_only=True):
    """
    What is to be seen at ``at_s`` (Unix seconds).

    ``is_live`` where a collector answered; otherwise it is what the storage holds, or, with a
    ``problem``, what was seen last. ``open`` has the oldest open calls, ``in_flight`` counts all.
    """

    at_s: float
    session: str | None
    storage: str
    mode: str
    is_live: bool
    complete: bool
    problem: str | None
    begun: int
    total_calls: int
    errors: int
    aborted: int
    in_flight: int
    lost: dict[str, int]
    rate: float | None
    tools: list[ToolLook]
    workers: list[WorkerLook]
    open: list[OpenCallAnswer]
    alerts: list[ShownAlert]
    optimization: RunStatus


class Watch:
    """Looks again and again; one thread at a time."""

    def __init__(self, find: Callable[[], Answers], clock: Callable[[], float] = time.time) -> None:
        """*find* says who answers now; it is asked at each look, as sessions end and begin."""
        self._find = find
        self._clock = clock
        self._last: Look | None = None
        self._counts: dict[str, int] = {}
        self._quantiles: dict[str, tuple[int, tuple[float | None, float | None, float | None]]] = {}
        self._rates: dict[str, deque[float]] = {}

    def rates(self, tool: str) -> list[float]:
        """Calls a second of *tool* at the last looks, the newest last."""
        return list(self._rates.get(tool, ()))

    def look(self) -> Look:
        """What is to be seen now."""
        now_s = self._clock()
        try:
            answers = self._find()
            answers.is_of_one_moment = True
            status = answers.status(with_sizes=False)
            figures, edges, opened = answers.figures(), answers.tree(), answers.in_flight()
        except ShmperfError as error:
            return self.stale(str(error))
        look = self._made(now_s, status, figures, opened)
        look.tools = self._tools(now_s, figures, edges, opened)
        if self._last is not None:
            look.rate = sum(tool.rate or 0.0 for tool in look.tools)
        self._last = look
        self._counts = {tool: totals.count for tool, totals in figures.totals.items()}
        return look

    def stale(self, problem: str) -> Look:
        """The last look, or an empty one, with what is the matter; any thread."""
        now_s = self._clock()
        if self._last is None:
            return _empty(now_s, problem)
        return msgspec.structs.replace(
            self._last,
            at_s=now_s,
            is_live=False,
            complete=False,
            problem=problem,
            rate=None,
            open=[],
        )

    def _made(
        self, now_s: float, status: SessionStatus, figures: Figures, opened: list[OpenCallAnswer]
    ) -> Look:
        totals, lost = figures.totals.values(), figures.books.lost_by_cause()
        finished, aborted = sum(one.count for one in totals), sum(one.aborted for one in totals)
        return Look(
            at_s=now_s,
            session=status.session,
            storage=status.storage,
            mode=status.mode,
            is_live=status.collector is not None,
            complete=figures.books.complete,
            problem=_problem(status),
            begun=figures.books.begun,
            total_calls=finished,
            errors=sum(one.errors for one in totals),
            aborted=aborted,
            in_flight=max(0, figures.books.begun - finished - aborted - sum(lost.values())),
            lost=lost,
            rate=None,
            tools=[],
            workers=list(_workers(status, opened)),
            open=opened[:MOST_OPEN],
            alerts=status.alerts,
            optimization=status.optimization,
        )

    def _tools(
        self,
        now_s: float,
        figures: Figures,
        edges: list[Edge],
        opened: list[OpenCallAnswer],
    ) -> list[ToolLook]:
        own_ns, open_now = _own_ns(edges), Counter(call.tool for call in opened)
        all_ns = sum(own_ns.values()) or 1
        since_s = None if self._last is None else max(1e-3, now_s - self._last.at_s)
        return [
            self._tool(
                tool,
                figures.totals.get(tool) or Totals(),
                since_s,
                own_ns.get(tool, 0) / all_ns,
                open_now[tool],
            )
            for tool in sorted({*figures.totals, *open_now})
        ]

    def _tool(
        self, tool: str, totals: Totals, since_s: float | None, own_share: float, in_flight: int
    ) -> ToolLook:
        rate = None
        if since_s is not None:
            # After a cleanup there are fewer than before.
            rate = max(0, totals.count - self._counts.get(tool, 0)) / since_s
            self._rates.setdefault(tool, deque(maxlen=MOST_RATES)).append(rate)
        p50_s, p95_s, p99_s = self._quantiles_of(tool, totals)
        return ToolLook(
            tool=tool,
            count=totals.count,
            rate=rate,
            p50_s=p50_s,
            p95_s=p95_s,
            p99_s=p99_s,
            errors=totals.errors,
            aborted=totals.aborted,
            own_share=own_share,
            in_flight=in_flight,
        )

    def _quantiles_of(
        self, tool: str, totals: Totals
    ) -> tuple[float | None, float | None, float | None]:
        known = self._quantiles.get(tool)
        if known is not None and known[0] == totals.count:
            return known[1]
        told = totals.stats(tool, 0, 0)
        found = told.p50_s, told.p95_s, told.p99_s
        self._quantiles[tool] = totals.count, found
        return found


def _problem(status: SessionStatus) -> str | None:
    if status.storage_state == "no such directory":
        return f"nothing was recorded in {status.storage} yet; it is shown as soon as there is"
    return None if status.storage_state == "ok" else status.storage_state


def _own_ns(edges: Iterable[Edge]) -> Mapping[str, int]:
    """Own time of each tool, under whichever parent."""
    found: Counter[str] = Counter()
    for edge in edges:
        found[edge.tool] += max(0, edge.own_ns)
    return found


def _workers(status: SessionStatus, opened: Iterable[OpenCallAnswer]) -> Iterable[WorkerLook]:
    opened = list(opened)
    callers = {call.parent for call in opened}
    of_pid: dict[int, list[OpenCallAnswer]] = {}
    for call in opened:
        of_pid.setdefault(call.pid, []).append(call)
    for worker in status.workers:
        calls = of_pid.get(worker.pid, [])
        # One whose child is in another process waits for that.
        innermost = [call for call in calls if call.id not in callers] or calls
        yield WorkerLook(
            pid=worker.pid,
            memory_bytes=worker.memory_bytes,
            cpu_percent=worker.cpu_percent,
            threads=worker.threads,
            doing=innermost[0].id if innermost else None,
            in_flight=len(calls),
            name=worker.name,
        )


def _empty(now_s: float, problem: str) -> Look:
    return Look(
        at_s=now_s,
        session=None,
        storage="",
        mode="normal",
        is_live=False,
        complete=False,
        problem=problem,
        begun=0,
        total_calls=0,
        errors=0,
        aborted=0,
        in_flight=0,
        lost={},
        rate=None,
        tools=[],
        workers=[],
        open=[],
        alerts=[],
        optimization=RunStatus(),
    )
