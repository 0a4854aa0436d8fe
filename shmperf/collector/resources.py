"""
What the operating system says of the workers: resident memory, CPU and threads, now and then.

For `shmperf status`, and for who watches whether they grow; nothing of it enters the history.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from shmperf.config.options import Options
from shmperf.session.messages import WorkerStatus

__all__ = ["Sampler"]

_FIRST_S = 1.0


class Sampler:
    """Keeps the last sample of every worker; the collector's thread."""

    def __init__(
        self,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
        note: Callable[[Iterable[WorkerStatus]], None] = lambda _: None,
    ) -> None:
        """*note* is given each sample of all."""
        self._note = note
        self.interval_s = interval_s
        self._clock = clock
        self._due_s = clock() + min(interval_s, _FIRST_S)
        self._processes: dict[int, Any] = {}
        self._rows: dict[int, WorkerStatus] = {}

    def configure(self, options: Options) -> None:
        """Take up *options*; a shorter interval holds for the present one, too."""
        self.interval_s = options.collector.sample_interval_seconds
        self._due_s = min(self._due_s, self._clock() + self.interval_s)

    def look(self, pids: Callable[[], list[int]]) -> None:
        """Sample the processes of *pids*, when the interval has passed."""
        now = self._clock()
        if now < self._due_s:
            return
        self._due_s = now + self.interval_s
        present = pids()
        self._rows = {pid: row for pid in present if (row := self._sample(pid)) is not None}
        self._processes = {pid: p for pid, p in self._processes.items() if pid in self._rows}
        self._note(self._rows.values())

    def rows(self, pids: list[int]) -> list[WorkerStatus]:
        """The last sample of each of *pids*, nulls where there is none yet."""
        return [self._rows.get(pid) or WorkerStatus(pid=pid) for pid in pids]

    def _sample(self, pid: int) -> WorkerStatus | None:
        # 15 ms that would otherwise stand between a program's first calls and their drain.
        import psutil  # noqa: PLC0415

        try:
            process = self._processes.get(pid)
            if process is None:
                process = self._processes[pid] = psutil.Process(pid)
            with process.oneshot():
                return WorkerStatus(
                    pid=pid,
                    started=process.create_time(),
                    memory_bytes=process.memory_info().rss,
                    cpu_percent=process.cpu_percent(),
                    threads=process.num_threads(),
                )
        except psutil.Error:
            return None
