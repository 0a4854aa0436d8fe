"""
All questions to a collector, and the structs of its answers; what they travel in is in `asking`.

A program imports none of this: what programs ask is in `asking`, too.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from shmperf.analysis.anomaly import Unusual
from shmperf.analysis.shownalert import ShownAlert
from shmperf.analysis.unattached import Unattached

from .asking import Cleanup, FiguresOf, Flush, Optimize, Stats

__all__ = [
    "AlertsOf",
    "BucketCallsOf",
    "Changes",
    "Cleanup",
    "CollectorStatus",
    "ConsumerStatus",
    "Errors",
    "ExemplarOf",
    "FiguresOf",
    "Flush",
    "InFlight",
    "IntervalsOf",
    "Mode",
    "OpenCallAnswer",
    "Optimize",
    "Ping",
    "Question",
    "Report",
    "RunProgress",
    "RunStatus",
    "SessionStatus",
    "SidecarReport",
    "SidecarStatus",
    "SinkReport",
    "SinkStatus",
    "SlowestOf",
    "Stats",
    "Status",
    "Stop",
    "TotalsOf",
    "Tree",
    "WorkerStatus",
]


class TotalsOf(msgspec.Struct, tag=True):
    """Totals of these tools, those that are known; for whoever chooses between them."""

    tools: list[str]


class Errors(msgspec.Struct, tag=True):
    """Failed calls: exceptions that were caught, by fingerprint, all others by class."""


class SlowestOf(msgspec.Struct, tag=True):
    """The slowest calls of one tool, or of all, that are kept as exemplars."""

    most: int
    tool: str | None = None


class IntervalsOf(msgspec.Struct, tag=True):
    """Intervals that have a part between two times (Unix seconds), of one tool or of all."""

    tool: str | None = None
    since_s: float | None = None
    until_s: float | None = None


class AlertsOf(msgspec.Struct, tag=True):
    """What is wrong now, and what of the file of alerts is not written yet."""


class ExemplarOf(msgspec.Struct, tag=True):
    """The exemplar of the call *id* (hexadecimal), or the one below which it lay, if any."""

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]


class BucketCallsOf(msgspec.Struct, tag=True):
    """From histograms to exemplars: of the tools that have changed after that revision; -1: all."""

    after: int = -1


class Mode(msgspec.Struct, tag=True):
    """Switch the mode, or with None only ask for it."""

    optimization: bool | None = None


class InFlight(msgspec.Struct, tag=True):
    """The calls that are open now."""


class Tree(msgspec.Struct, tag=True):
    """The graph from tool to tool."""


class Status(msgspec.Struct, tag=True):
    """How collector and workers are."""


class SidecarReport(msgspec.Struct, kw_only=True):
    """
    What any sidecar says of itself; texts are short, times are Unix seconds.

    ``waiting`` is what it has still to send, ``dropped`` what it never will; ``problem`` is what
    keeps it from sending now, ``last_error`` what the other side said last.
    """

    sent: int = 0
    last_sent_s: float | None = None
    waiting: int = 0
    dropped: int = 0
    problem: str | None = None
    last_error: str | None = None


class SinkReport(SidecarReport, kw_only=True):
    """What a sink adds of the store that it serves."""

    store: str = ""
    tools: int = 0
    unknown: int = 0
    unknown_names: list[str] = []
    refused: int = 0
    retries: int = 0


class Report(msgspec.Struct, tag=True):
    """What the sidecar of that name says of itself; True when there is such a row."""

    sidecar: str
    report: SidecarReport


class Changes(msgspec.Struct, tag=True):
    """
    Totals that have changed after a revision, as journalled.

    A sink's look has its *report*; others that follow totals have none.
    """

    after: int = -1
    report: SinkReport | None = None


class RunProgress(msgspec.Struct, kw_only=True):
    """
    How far a run is: calls recorded in detail, of how many, and the seconds that are left.

    Once it *is_over*, its report and the report's name; *problem* says why that is not on disk.
    """

    calls: int = 0
    most_calls: int = 0
    left_s: float = 0.0
    trigger: str = ""
    is_over: bool = False
    name: str = ""
    report: dict[str, Any] | None = None
    problem: str = ""


class RunStatus(msgspec.Struct, kw_only=True):
    """The run that is going on, if ``trigger`` names what began it; and the newest report."""

    trigger: str | None = None
    calls: int = 0
    most_calls: int = 0
    ends_in_s: float | None = None
    last_report: str | None = None


class SamplingStatus(msgspec.Struct, kw_only=True):
    """How a tool is sampled now: one of *every* calls, why, and whether slow ones are kept."""

    every: int
    reason: str
    slow_kept: bool


class Stop(msgspec.Struct, tag=True):
    """Drain, write everything and end; answered when it is done."""


class Ping(msgspec.Struct, tag=True):
    """Answered with the collector's pid."""


class OpenCallAnswer(msgspec.Struct, kw_only=True):
    """
    A call that is open now; ids in hexadecimal, times in Unix seconds.

    ``chain`` has the names of its callers that are open, too, the outermost first. ``params`` is
    JSON, secrets masked, as in the history; None where they are not known before the call ends.
    ``thread`` is Python's number of the thread where a compiled call runs, 0 for others. Of a call
    of a fleet's ``node`` is where it runs, and ``pid`` the number of the node's row.
    """

    id: str
    tool: str
    pid: int
    parent: str | None
    started: float
    running_s: float
    chain: list[str] = []
    params: str | None = None
    thread: int = 0
    node: str | None = None


class CollectorStatus(msgspec.Struct, kw_only=True):
    """The collector itself; ``lag_s`` is the longest that a ring lately waited for its look."""

    pid: int
    uptime_s: float
    records: int
    lag_s: float = 0.0


class WorkerStatus(msgspec.Struct, kw_only=True):
    """
    A worker as the system last saw it, None where nobody has looked yet; Unix seconds.

    One with a ``name`` is a node of a fleet; its ``pid`` is the number of its row.
    """

    pid: int
    started: float | None = None
    memory_bytes: int | None = None
    cpu_percent: float | None = None
    threads: int | None = None
    name: str | None = None


class SinkStatus(SinkReport, kw_only=True):
    """What a sink says of itself, and whether one runs."""

    pid: int | None = None
    restarts: int = 0


class SidecarStatus(SidecarReport, kw_only=True):
    """A process beside the collector: what it says of itself, and whether one runs."""

    pid: int | None = None
    restarts: int = 0


class ConsumerStatus(msgspec.Struct, kw_only=True):
    """
    A consumer of the outbox.

    ``lag`` counts lines that wait for it, ``lag_bytes`` what they fill; ``sent`` lines that the
    other side has acknowledged; ``dropped`` lines that went before it could read them.
    """

    lag: int = 0
    lag_bytes: int = 0
    sent: int = 0
    dropped: int = 0
    problem: str | None = None


class SessionStatus(msgspec.Struct, kw_only=True):
    """
    How a session is: the answer to `Status`, and what is known of a storage at rest.

    ``collector`` is None when none runs; ``told`` has the last fault of each cause in words, and
    ``unusual`` the durations that left their usual range. ``alerts`` are open; ``learning`` has the
    tools of which too little is known to tell what is usual, and which share of it is.
    """

    session: str | None
    storage: str
    mode: str
    collector: CollectorStatus | None
    storage_state: str
    workers: list[WorkerStatus]
    begun: int
    lost: dict[str, int]
    faults: dict[str, int]
    told: dict[str, str]
    unusual: list[Unusual]
    rag: SinkStatus | None
    unattached: Unattached = Unattached()
    sidecars: dict[str, SidecarStatus] = {}
    consumers: dict[str, ConsumerStatus] = {}
    optimization: RunStatus = msgspec.field(default_factory=RunStatus)
    sampling: dict[str, SamplingStatus] = {}
    # Filled in by who asks: looking at very many files is nothing for the collector.
    bytes: dict[str, int] = {}
    alerts: list[ShownAlert] = []
    learning: dict[str, float] = {}


Question = (
    Stats
    | FiguresOf
    | TotalsOf
    | Errors
    | SlowestOf
    | ExemplarOf
    | BucketCallsOf
    | IntervalsOf
    | AlertsOf
    | Flush
    | Cleanup
    | Mode
    | Optimize
    | Report
    | InFlight
    | Tree
    | Status
    | Changes
    | Stop
    | Ping
)
