"""
The process that keeps a vector store's performance summaries current; the collector starts it.

    collector ── Changes (every half interval) ──► Track ──► Coalescer ──► store.update_perf
        │ ▲                                           │           ▲ failed: the newest of each tool
        │ └── report, shown by `shmperf status`       │           │ waits, tried again after a pause
        └── end of standard input: a last look        └► <storage>/.shmperf/sink, every few seconds

It polls: an answer holds only what has changed, as it stands in the collector's memory, and nobody
there keeps a queue for it or notices when it is slow or dead. When its standard input ends (the
collector has ended, or was killed) it takes the last figures from the disk, sends what waits, and
leaves; a thread sees to it that it leaves even when a store never answers. A session that is over
before its sink has come up leaves no figure behind: the settings it needs were opened for it.

    killed after …              the next sink
    asked, not written          counts again from the figures written last: nothing twice
    sent, not written           sends the same summaries again
    written                     sends all tools once, since it can't know what the store holds

One sink serves a storage directory, and one a store: locks say so, on this machine. A second one
waits, and tells. `rag.cluster_with_tool: false` keeps the summaries in the storage directory's
tool store, beside the artifacts and shown in none.

Why not a feed from the collector: it would have to hold what a dead store's sink does not take.
Why not a thread of the collector's: clients of vector stores hang, crash and hold the interpreter.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shmperf.analysis.stats import News
from shmperf.config.options import Rag
from shmperf.errors import SessionError, ShmperfError, StoreError
from shmperf.files import internals, path_of
from shmperf.query.fleetfacts import FleetFacts, FleetReader
from shmperf.query.track import Track
from shmperf.session.client import Client
from shmperf.session.files import try_lock, write_aside
from shmperf.session.messages import Changes, SinkReport
from shmperf.session.paths import TOOL_STORE, digest, runtime_root
from shmperf.session.settings import Settings
from shmperf.session.sidecar import REPORT, client_of, handed_settings, until_input_ends
from shmperf.storage.state import figures_on_disk

from .coalesce import Coalescer
from .delivery import shown
from .protocol import PerfStore
from .stores import open_store
from .toolstore import Embedder, ToolStore

__all__ = [
    "FIGURES",
    "Delivery",
    "Sink",
    "Target",
    "Timing",
    "load_embedder",
    "lock_of",
    "main",
    "target_of",
]

# In the storage directory, whose own place nothing of ours makes again when it is gone.
FIGURES = "sink"

_ASK_S = 2.0
_LONGEST_POLL_S = 0.5
_WRITE_S = 5.0
# Writing takes a small part of the time, however many tools there are.
_WRITE_SHARE = 50
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
# A tool that was unknown may have been put into the store since.
_UNKNOWN_S, _UNKNOWN_ELSEWHERE_S = 2.0, 30.0
_UNKNOWN_NAMES = 5
_LAST_S, _LAST_PAUSE_S = 2.0, 0.05
_FINISH_S = 10.0
_LONGEST_TEXT = 300

Summaries = Mapping[str, Mapping[str, object]]


class Target(NamedTuple):
    """A store: its kind as ``rag.store`` names it, and where it is."""

    kind: str
    url: str


class Timing(NamedTuple):
    """Least time between two updates of a tool, and between two tries with an unknown one."""

    interval_s: float
    unknown_s: float


class Delivery:
    """
    One store and what is to be sent to it; one thread, and the only part that a store can hold up.

    *open_it* gives the store, and *send* hands it summaries: how many names it did not find.
    *clock* is monotonic. ``problem`` is what the store said if it failed the last time.
    """

    def __init__(
        self,
        open_it: Callable[[], PerfStore],
        send: Callable[[PerfStore, Summaries], int],
        timing: Timing,
        clock: Callable[[], float],
    ) -> None:
        self.report = SinkReport()
        self.problem: str | None = None
        self._open_it = open_it
        self._send = send
        self._timing = timing
        self._clock = clock
        self._coalescer = Coalescer(timing.interval_s, clock)
        self._store: PerfStore | None = None
        self._unknown: set[str] = set()
        self._look_again_s = 0.0
        self._retry_at_s: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    def offer(self, summaries: Summaries) -> None:
        """Take the newest summaries; the store gets them when it is time."""
        for tool, summary in summaries.items():
            self._coalescer.offer(tool, summary)

    def attempt(self, *, is_last: bool = False) -> bool:
        """
        Send what is due, unless the store failed a moment ago; False when it fails.

        The last time waits for no pause, and the interval is no longer than a second.
        """
        now_s = self._clock()
        if is_last or self._retry_at_s is None or now_s >= self._retry_at_s:
            if self._unknown and (is_last or now_s >= self._look_again_s):
                self._coalescer.failed(self._unknown)
            interval_s = self._timing.interval_s
            self._deliver(self._coalescer.due(min(interval_s, 1.0) if is_last else None))
        self.report.waiting = len(self._coalescer.waiting - self._unknown)
        self.report.unknown = len(self._unknown)
        self.report.unknown_names = [name[:80] for name in sorted(self._unknown)[:_UNKNOWN_NAMES]]
        return self.problem is None

    def _deliver(self, due: dict[str, dict[str, object]]) -> None:
        if not due and self._store is not None:
            return
        try:
            if self._store is None:
                self._store = self._open_it()
            if due:
                missing = self._send(self._store, due)
                self._note(self._store, due, missing)
        except ShmperfError as error:
            self._coalescer.failed(due)
            self.report.retries += 1
            self.report.last_error = self.problem = _short(error)
            self._retry_at_s = self._clock() + self._pause_s
            self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)
            return
        self.problem, self._retry_at_s, self._pause_s = None, None, _FIRST_PAUSE_S

    def _note(self, store: PerfStore, due: dict[str, dict[str, object]], missing: int) -> None:
        self._unknown -= due.keys()
        if missing:
            # A store says how many; whoever has no summary now is one of them.
            self._unknown |= due.keys() - store.read_perf(due).keys()
            self._look_again_s = self._clock() + self._timing.unknown_s
        self.report.refused = getattr(store, "refused", 0)
        if len(due) > missing:
            self.report.sent += len(due) - missing
            self.report.last_sent_s = time.time()


class Sink:
    """From the collector's figures to the store; the main thread of a sink's process."""

    def __init__(self, client: Client, settings: Settings) -> None:
        """A sink of the session that *client* asks, which may be over already."""
        rag = settings.options.rag
        self._storage = path_of(settings.storage)
        self._options = settings.options
        self._target = target_of(rag, self._storage)
        self._client = client
        self._track = Track(rag.half_life_seconds, time.time)
        self._delivery = Delivery(
            lambda: _open(rag, self._target),
            _sender(rag),
            Timing(
                interval_s=rag.interval_seconds,
                unknown_s=_UNKNOWN_S if self._target.kind == "tools" else _UNKNOWN_ELSEWHERE_S,
            ),
            time.monotonic,
        )
        self._report = self._delivery.report
        self._report.store = f"{self._target.kind} {shown(self._target.url)}"[:_LONGEST_TEXT]
        self._problems: dict[str, str] = {}
        self._locks: list[int] = []
        fleet = settings.options.fleet
        self._fleet = FleetReader(self._storage) if fleet.url and fleet.facts else None
        self._heard: FleetFacts | None = None
        self._revision = -1
        self._is_changed = False
        self._write_at_s = 0.0
        self.pause_s = min(_LONGEST_POLL_S, rag.interval_seconds / 2)

    def step(self) -> None:
        """Ask, send, write; what goes wrong is in the report, and the next step tries again."""
        if not self._locks:
            self._take_locks()
        # Whoever is not the one sink only reports.
        news = self._ask(self._revision if self._locks else 1 << 62)
        if not self._locks:
            return
        if news is not None:
            self._revision = news.revision
            self._follow(news)
        self._hear()
        self._delivery.attempt()
        if time.monotonic() >= self._write_at_s:
            self._write()

    def finish(self) -> None:
        """The last figures, from disk, to the store, within a few seconds."""
        if not self._becomes_the_one():
            return
        figures = figures_on_disk(self._storage, None, self._options)
        # Unless the directory is gone, and with it the history.
        if figures.totals or figures.forgotten:
            self._follow(News(forgotten=figures.forgotten, totals=figures.totals))
        deadline_s = time.monotonic() + _LAST_S
        while self._delivery.attempt(is_last=True) and self._report.waiting:
            if time.monotonic() >= deadline_s:
                break
            time.sleep(_LAST_PAUSE_S)
        self._write()

    def _becomes_the_one(self) -> bool:
        # It may have been asked to end before its first step, and the sink of the collector before
        # may still be about to leave.
        deadline_s = time.monotonic() + _LAST_S
        while not self._locks:
            self._take_locks()
            if self._locks or time.monotonic() >= deadline_s:
                break
            time.sleep(_LAST_PAUSE_S)
        return bool(self._locks)

    def _follow(self, news: News) -> None:
        summaries = self._track.follow(news)
        if summaries:
            self._is_changed = True
            self._report.tools = self._track.tools
            self._delivery.offer(summaries)

    def _hear(self) -> None:
        """Let summaries be of all nodes, where the session is one of a fleet."""
        heard = None if self._fleet is None else self._fleet.read()
        if heard is self._heard:
            return
        self._heard = heard
        known = {} if heard is None else heard.tools
        others = {tool: facts.others for tool, facts in known.items() if facts.others is not None}
        self._delivery.offer(self._track.hear(others))

    def _ask(self, after: int) -> News | None:
        problems = [*self._problems.values(), self._delivery.problem]
        self._report.problem = "; ".join(filter(None, problems))[:_LONGEST_TEXT] or None
        try:
            found = self._client.ask(Changes(after, self._report), _ASK_S)
            news = msgspec.convert(found, News)
        except (SessionError, msgspec.ValidationError) as error:
            self._problems["collector"] = _short(error)
            return None
        self._problems.pop("collector", None)
        return news

    def _take_locks(self) -> None:
        """Become the one sink of this storage and of this store, if no other is."""
        try:
            self._locks = _locked(internals(self._storage) / "sink.lock", lock_of(self._target))
        except (OSError, ShmperfError) as error:
            self._problems["lock"] = _short(error)
            return
        self._problems.pop("lock", None)
        problem = self._track.read(internals(self._storage) / FIGURES)
        if problem:
            self._problems["figures"] = _short(problem)
        self._report.tools = self._track.tools
        self._delivery.offer(self._track.summaries())

    def _write(self) -> None:
        began_s = time.monotonic()
        place = internals(self._storage)
        try:
            if self._is_changed:
                self._track.write(place / FIGURES)
                self._is_changed = False
                self._problems.pop("figures", None)
            self._report.problem = self._delivery.problem
            write_aside(place / REPORT, msgspec.msgpack.encode(self._report))
        except OSError as error:
            self._problems["figures"] = _short(error)
        took_s = time.monotonic() - began_s
        self._write_at_s = time.monotonic() + max(_WRITE_S, took_s * _WRITE_SHARE)


def main(directory: str) -> int:
    """Serve the session in *directory* until standard input ends."""
    ended = until_input_ends(_FINISH_S)
    sink = Sink(client_of(Path(directory), ended.is_set), handed_settings())
    while not ended.is_set():
        sink.step()
        ended.wait(sink.pause_s)
    sink.finish()
    return 0


def target_of(rag: Rag, storage: Path) -> Target:
    """The store that takes the summaries; a path is relative to the storage directory."""
    own = str(storage / TOOL_STORE)
    if not rag.cluster_with_tool:
        return Target("tools", own)
    kind = rag.store or "tools"
    if kind == "tools":
        return Target(kind, str(storage / rag.url) if rag.url else own)
    return Target(kind, rag.url if "://" in rag.url else str(storage / rag.url))


def lock_of(target: Target) -> Path:
    """The file whose lock says who serves a store; the same for whoever names the store so."""
    if target.kind == "tools":
        path = Path(target.url).resolve()
        return path.with_name(f".{path.name}.sink")
    return runtime_root(os.environ) / f"rag-{digest(f'{target.kind} {target.url}')}.lock"


def _locked(*places: Path) -> list[int]:
    """Hold all of these locks; StoreError when somebody else holds one."""
    taken: list[int] = []
    try:
        for place in places:
            fd = try_lock(place)
            if fd is None:
                break
            taken.append(fd)
        else:
            return taken
    except OSError:
        _close(taken)
        raise
    _close(taken)
    raise StoreError(f"another sink serves this store: {place} is locked")


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _open(rag: Rag, target: Target) -> PerfStore:
    if target.kind != "tools":
        return open_store(target.kind, target.url)
    embedder = load_embedder(rag.embedder) if rag.embedding_include else None
    # Summaries that belong to no artifact need a file to be in.
    return ToolStore(target.url, embedder, create=not rag.cluster_with_tool)


def _sender(rag: Rag) -> Callable[[Any, Summaries], int]:
    if not rag.cluster_with_tool:
        return _send_apart
    return _send_and_embed if rag.embedding_include else _send


def _send(store: PerfStore, summaries: Summaries) -> int:
    return store.update_perf(summaries)


def _send_apart(store: ToolStore, summaries: Summaries) -> int:
    store.keep_apart(summaries)
    return 0


def _send_and_embed(store: ToolStore, summaries: Summaries) -> int:
    missing = store.update_perf(summaries)
    store.embed_performance(summaries)
    return missing


def load_embedder(named: str) -> Embedder:
    """The function that the options name; it may lie where the program was started."""
    module, _, attribute = named.partition(":")
    if "" not in sys.path:
        sys.path.append("")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        # An embedder is foreign code.
        raise StoreError(f"rag.embedder: {named}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise StoreError(
            f"rag.embedder: {named}: found {type(found).__name__}, expected a function"
        )
    embedder: Embedder = found
    return embedder


def _short(error: object) -> str:
    return " ".join(str(error).split())[:_LONGEST_TEXT]
