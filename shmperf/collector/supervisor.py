"""
The processes beside the collector, by one table: started, watched, started again, let go.

    wanted?  what the row's condition says of the options and the storage directory
      │
    start ──► running ──► died ──► start again after a pause that doubles, a bounded number of times
                 │
                 └─ not wanted any more, other options, the collector ends or is killed:
                    the pipe that is its standard input ends, and it finishes by itself

A row that reads the outbox names its cursor there. Lines are kept for it from the first one on:
whoever writes them registers what is wanted before (`wanted_consumers`), since its process needs a
moment to come up. It stays while the row is wanted, running or not; once it is not, and its process
has gone, what waited for it is let go, counted and told: lines that nobody is going to read would
fill all that the outbox may.

What can hang (looking for a file on a dead network disk, starting a process) happens in a thread of
this module's own, one for all rows: a drain never waits for it. A sidecar is started by exec, so
that it inherits neither locks nor memory; the session's settings are opened for it, since it may
come up when the session is over. The collector's cycle only reads and sets attributes here.

A new sidecar is a module with ``main(directory)``, which returns an exit code and ends with its
standard input, and a row of the table.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shmperf.config.options import Options
from shmperf.errors import StoreError, tell
from shmperf.session.interpreter import python_command
from shmperf.session.launch import Child
from shmperf.session.messages import SidecarReport, SidecarStatus
from shmperf.session.paths import TOOL_STORE
from shmperf.session.sidecar import SETTINGS_FD
from shmperf.storage.consumer import Consumer

__all__ = ["SIDECARS", "BackOff", "Sidecar", "Supervisor", "wanted_consumers"]

_LOOK_S, _ENDED_LOOK_S = 0.25, 0.05
# A sidecar ends itself before that.
_ENDING_S = 30.0

_RUN = (
    "from importlib import import_module; "
    "raise SystemExit(import_module(sys.argv[1]).main(sys.argv[2]))"
)


class BackOff(NamedTuple):
    """
    When a sidecar that has died is started again: after a pause that doubles, in seconds.

    One that dies *most_deaths* times, each before it has lived for *long_life_s*, is let be.
    """

    first_s: float = 0.5
    longest_s: float = 60.0
    most_deaths: int = 8
    long_life_s: float = 60.0

    def pause_s(self, deaths: int) -> float:
        """How long to wait after so many deaths in a row."""
        return min(self.longest_s, self.first_s * 2.0 ** (deaths - 1))


class Sidecar(NamedTuple):
    """
    One row: its name in ``status``, what it is called, and the module that is executed.

    *wants* says of options and storage directory whether it is to run; *serves* picks the options
    that it was started with: with others it is started anew. *back_off* says when one that died is
    started again. It writes to ``<noun>.log`` in the session's directory. *consumer* is the name
    under which it reads the outbox, if it does.
    """

    name: str
    noun: str
    module: str
    wants: Callable[[Options, Path], bool]
    serves: Callable[[Options], object]
    back_off: BackOff = BackOff()
    consumer: str = ""


def _wants_sink(options: Options, storage: Path) -> bool:
    rag = options.rag
    return rag.enabled and (bool(rag.store) or (storage / TOOL_STORE).is_file())


def _wants_webhook(options: Options, _: Path) -> bool:
    return options.anomaly.enabled and bool(options.anomaly.webhook)


SIDECARS = (
    Sidecar(
        "rag",
        "sink",
        "shmperf.rag.sink",
        _wants_sink,
        lambda options: (options.rag, options.fleet.url, options.fleet.facts),
    ),
    Sidecar(
        "webhook",
        "webhook",
        "shmperf.exporters.webhook",
        _wants_webhook,
        lambda options: options.anomaly.webhook,
        consumer="webhook",
    ),
    Sidecar(
        "otlp",
        "otlp",
        "shmperf.exporters.otlplive",
        lambda options, _: bool(options.export.otlp.endpoint),
        lambda options: (options.export.otlp, options.export.most_tools),
        consumer="otlp",
    ),
    Sidecar(
        "prometheus",
        "prometheus",
        "shmperf.exporters.prometheuslive",
        lambda options, _: bool(options.export.prometheus.listen),
        lambda options: (options.export.prometheus, options.export.most_tools),
    ),
    Sidecar(
        "fleet",
        "publisher",
        "shmperf.fleet.publisher",
        lambda options, _: bool(options.fleet.url),
        lambda options: options.fleet,
        consumer="fleet",
    ),
)


def wanted_consumers(options: Options, storage: Path) -> frozenset[str]:
    """For whom lines are to be kept in the outbox, as *options* are."""
    rows = (row for row in SIDECARS if row.consumer)
    return frozenset(row.consumer for row in rows if row.wants(options, storage))


class Supervisor:
    """One collector's sidecars; every public method returns at once."""

    def __init__(
        self,
        directory: Path,
        storage: Path,
        options: Options,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._clock = clock
        self._keepers = {row.name: _Keeper(row, directory, storage, clock) for row in SIDECARS}
        self._end = threading.Event()

    def start(self) -> None:
        """Look after the sidecars from now on."""
        threading.Thread(target=self._run, name="shmperf-sidecars", daemon=True).start()

    def configure(self, options: Options) -> None:
        """What the options want now."""
        self._options = options

    def close(self) -> None:
        """Let the sidecars finish, without waiting for them."""
        self._end.set()
        self._hang_up()

    def see_out(self, longest_s: float) -> None:
        """Wait, after `close`, until those that send what was recorded have ended."""
        deadline_s = self._clock() + longest_s
        for keeper in self._keepers.values():
            while not keeper.has_sent_all() and self._clock() < deadline_s:
                time.sleep(_ENDED_LOOK_S)

    def status(self) -> dict[str, SidecarStatus]:
        """How each sidecar is that runs, or can't."""
        found = {name: keeper.status() for name, keeper in self._keepers.items()}
        return {name: status for name, status in found.items() if status is not None}

    def hear(self, name: str, report: SidecarReport | None) -> bool:
        """What the sidecar *name* says of itself, until it ends; False without such a row."""
        if name not in self._keepers:
            return False
        self._keepers[name].report = report
        return True

    def tell(self, fault: Callable[[str, str, int], None]) -> None:
        """Give *fault* what was let go since the last time: cause, sentence and lines."""
        for keeper in self._keepers.values():
            while keeper.let_go:
                fault("outbox_let_go", *keeper.let_go.popleft())

    def report_of(self, name: str) -> SidecarReport | None:
        """What the sidecar *name* said last; None without it."""
        return self._keepers[name].report if name in self._keepers else None

    def _hang_up(self) -> None:
        for keeper in self._keepers.values():
            keeper.hang_up()

    def _run(self) -> None:
        while not self._end.is_set():
            for keeper in self._keepers.values():
                keeper.look(self._options)
            self._end.wait(_LOOK_S)
        # One may have been started since the end was announced.
        self._hang_up()


class _Keeper:
    """Looks after one sidecar; the supervisor's thread, but for `status` and `hang_up`."""

    def __init__(
        self, row: Sidecar, directory: Path, storage: Path, clock: Callable[[], float]
    ) -> None:
        self.report: SidecarReport | None = None
        # Sentences with the lines that they are about, for `Supervisor.tell`.
        self.let_go: deque[tuple[str, int]] = deque()
        self._row = row
        self._directory = directory
        self._storage = storage
        self._clock = clock
        self._serves: object = None
        self._process: Child | None = None
        self._started_s = self._retry_at_s = self._kill_at_s = 0.0
        self._starts = self._deaths = 0
        self._problem = ""

    def hang_up(self) -> None:
        """Let it finish."""
        process = self._process
        if process is not None:
            process.hang_up()

    def has_sent_all(self) -> bool:
        """True once it has ended, or where it sends nothing that was recorded."""
        process = self._process
        return not self._row.consumer or process is None or process.has_ended()

    def status(self) -> SidecarStatus | None:
        """How it is; None when none is wanted."""
        process = self._process
        if process is None and not self._problem:
            return None
        pid = None if process is None else process.pid
        restarts = max(0, self._starts - 1)
        said = self.report or SidecarReport()
        told = {name: getattr(said, name) for name in SidecarReport.__struct_fields__}
        told["problem"] = self._problem or said.problem
        return SidecarStatus(pid=pid, restarts=restarts, **told)

    def look(self, options: Options) -> None:
        """Bring what is in line with what is wanted."""
        try:
            self._look(self._row.wants(options, self._storage), self._row.serves(options))
        except OSError as error:
            self._problem = f"the {self._row.noun} can't be started: {error}"
            self._deaths += 1
            self._pause()

    def _look(self, wanted: bool, serves: object) -> None:
        process = self._process
        if process is not None and process.has_ended():
            self._bury(process)
        elif process is not None:
            if not wanted or serves != self._serves:
                self._dismiss(process)
        elif wanted:
            if serves != self._serves:
                self._serves, self._deaths, self._starts, self._retry_at_s = serves, 0, 0, 0.0
            if self._deaths < self._row.back_off.most_deaths and self._clock() >= self._retry_at_s:
                self._launch()
        else:
            self._problem = ""
            self._let_go()

    def _let_go(self) -> None:
        """Nothing is to be kept for it in the outbox any more."""
        if not self._row.consumer:
            return
        try:
            lines = Consumer(self._storage, self._row.consumer).let_go()
        except StoreError:
            # One of a collector that was killed may still be finishing, or the disk is away.
            return
        if lines:
            text = f"{self._row.name} is wanted no more; lines that waited for it: {lines:,}"
            self.let_go.append((text, lines))
            tell(text)

    def _launch(self) -> None:
        command = python_command(_RUN, self._row.module, str(self._directory))
        self._started_s, self._kill_at_s = self._clock(), 0.0
        child = Child(command, self._log, {SETTINGS_FD: self._directory / "settings"})
        # Whoever asks sees its pid with its restarts, or neither.
        self._starts += 1
        self._process = child
        self._problem = ""

    @property
    def _log(self) -> Path:
        """What it said when it died."""
        return self._directory / f"{self._row.noun}.log"

    def _dismiss(self, process: Child) -> None:
        """It is told once, and killed when it does not go."""
        if not self._kill_at_s:
            self._kill_at_s = self._clock() + _ENDING_S
            process.hang_up()
        elif self._clock() >= self._kill_at_s:
            process.kill()

    def _bury(self, process: Child) -> None:
        process.hang_up()
        self._process, self.report = None, None
        if self._kill_at_s:
            self._starts = 0
            return
        lived_s = self._clock() - self._started_s
        self._deaths = 1 if lived_s >= self._row.back_off.long_life_s else self._deaths + 1
        self._problem = f"the {self._row.noun} ended with code {process.code}: {self._log}"
        if self._deaths >= self._row.back_off.most_deaths:
            self._problem += f", {self._deaths} times; it is not started again"
        self._pause()

    def _pause(self) -> None:
        self._retry_at_s = self._clock() + self._row.back_off.pause_s(self._deaths)
