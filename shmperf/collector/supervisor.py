"""
The process beside the collector that tells a vector store how the tools do: started, watched.

    wanted?  rag.enabled, and a store: rag.store names one, or tools.db is in the storage directory
      │
    start ──► running ──► died ──► start again after a pause that doubles, a bounded number of times
                 │
                 └─ not wanted any more, other options, the collector ends or is killed:
                    the pipe that is its standard input ends, and it finishes by itself

What can hang (looking for a file on a dead network disk, starting a process) happens in a thread of
this module's own: a drain never waits for it. The sink is started by exec, so that it inherits
neither locks nor memory; the session's settings are opened for it, since it may come up when the
session is over. The collector's cycle only reads and sets attributes here.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from shmperf.config.options import Rag
from shmperf.session.launch import PACKAGE_PARENT
from shmperf.session.messages import SinkReport
from shmperf.session.paths import TOOL_STORE
from shmperf.session.sidecar import SETTINGS_FD

__all__ = ["SinkKeeper"]

_LOOK_S = 0.25
# In the session's directory: what a sink said when it died.
_LOG = "sink.log"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
# Whoever dies so often without having lived for so long is not started again.
_MOST_DEATHS = 8
_LONG_LIFE_S = 60.0
# The sink ends itself before that.
_ENDING_S = 30.0

_RUN = (
    "import sys; sys.path.append(sys.argv[1]); from shmperf.rag.sink import main; "
    "raise SystemExit(main(sys.argv[2]))"
)


class SinkKeeper:
    """One collector's sink; every public method returns at once."""

    def __init__(
        self, directory: Path, storage: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.report: SinkReport | None = None
        self._directory = directory
        self._store = storage / TOOL_STORE
        self._clock = clock
        self._rag = Rag(enabled=False)
        self._serves = self._rag
        self._process: _Process | None = None
        self._started_s = self._retry_at_s = self._kill_at_s = 0.0
        self._starts = self._deaths = 0
        self._problem = ""
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, rag: Rag) -> None:
        """Look after a sink from now on, as *rag* wants it."""
        self._rag = rag
        self._thread = threading.Thread(target=self._run, name="shmperf-sink", daemon=True)
        self._thread.start()

    def configure(self, rag: Rag) -> None:
        """What the options want now."""
        self._rag = rag

    def close(self) -> None:
        """Let the sink finish, without waiting for it."""
        self._end.set()
        process = self._process
        if process is not None:
            process.hang_up()

    def status(self) -> dict[str, Any] | None:
        """How the sink is; None when none is wanted."""
        process = self._process
        if process is None and not self._problem:
            return None
        report: dict[str, Any] = msgspec.to_builtins(self.report or SinkReport())
        return report | {
            "pid": None if process is None else process.pid,
            "restarts": max(0, self._starts - 1),
            "problem": self._problem or report["problem"],
        }

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._look()
            except OSError as error:
                self._problem = f"the sink can't be started: {error}"
                self._deaths += 1
                self._pause()
            self._end.wait(_LOOK_S)
        if self._process is not None:
            # It may have been started since the end was announced.
            self._process.hang_up()

    def _look(self) -> None:
        process, rag = self._process, self._rag
        wanted = self._is_wanted(rag)
        if process is not None and process.has_ended():
            self._bury(process)
        elif process is not None:
            if not wanted or rag != self._serves:
                self._dismiss(process)
        elif wanted:
            if rag != self._serves:
                self._serves, self._deaths, self._starts, self._retry_at_s = rag, 0, 0, 0.0
            if self._deaths < _MOST_DEATHS and self._clock() >= self._retry_at_s:
                self._launch()
        else:
            self._problem = ""

    def _is_wanted(self, rag: Rag) -> bool:
        return rag.enabled and (bool(rag.store) or self._store.is_file())

    def _launch(self) -> None:
        command = [sys.executable, "-P", "-c", _RUN, PACKAGE_PARENT, str(self._directory)]
        self._started_s, self._kill_at_s = self._clock(), 0.0
        self._process = _Process(command, self._directory)
        self._starts += 1
        self._problem = ""

    def _dismiss(self, process: _Process) -> None:
        """It is told once, and killed when it does not go."""
        if not self._kill_at_s:
            self._kill_at_s = self._clock() + _ENDING_S
            process.hang_up()
        elif self._clock() >= self._kill_at_s:
            process.kill()

    def _bury(self, process: _Process) -> None:
        process.hang_up()
        self._process, self.report = None, None
        if self._kill_at_s:
            self._starts = 0
            return
        lived_s = self._clock() - self._started_s
        self._deaths = 1 if lived_s >= _LONG_LIFE_S else self._deaths + 1
        self._problem = f"the sink ended with code {process.code}: {self._directory / _LOG}"
        if self._deaths >= _MOST_DEATHS:
            self._problem += f", {self._deaths} times; it is not started again"
        self._pause()

    def _pause(self) -> None:
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self._deaths - 1))
        self._retry_at_s = self._clock() + pause_s


class _Process:
    """A child that ends when its standard input does, which only this process holds open."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self.code: int | None = None
        self._lock = threading.Lock()
        opened = list(os.pipe())
        try:
            # The child's first three would be overwritten where this process has closed its own.
            opened += [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in opened]
            self.pid = os.posix_spawn(
                command[0],
                command,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, opened[2], 0),
                    (
                        os.POSIX_SPAWN_OPEN,
                        1,
                        str(directory / _LOG),
                        os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                        0o600,
                    ),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                    (
                        os.POSIX_SPAWN_OPEN,
                        SETTINGS_FD,
                        str(directory / "settings"),
                        os.O_RDONLY,
                        0,
                    ),
                ],
                setsid=True,
            )
            self._pipe_fd = opened.pop()
        finally:
            for fd in opened:
                os.close(fd)

    def has_ended(self) -> bool:
        """True once it is gone; its exit code, or the signal as a negative one, in ``code``."""
        if self.code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, 0
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def hang_up(self) -> None:
        """End its standard input."""
        # Two threads may do so at once, and a number may be another file's by the second time.
        with self._lock:
            fd, self._pipe_fd = self._pipe_fd, -1
            if fd >= 0:
                os.close(fd)

    def kill(self) -> None:
        """For one that does not go."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
